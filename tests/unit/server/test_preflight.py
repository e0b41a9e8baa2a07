"""Each check finds its fault in a repository that has just that one, and nothing in a sound one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_server import machine_checks
from alexnet_server.discovery import TritonServer, find_tritonserver
from alexnet_server.errors import ServerError
from alexnet_server.findings import Finding, Situation
from alexnet_server.preflight import run_checks
from alexnet_server.repository import read_repository

PREPROCESS = """
backend: "python" max_batch_size: 4
input { name: "IMAGE" data_type: TYPE_STRING dims: 1 }
output { name: "PIXELS" data_type: TYPE_UINT8 dims: [8, 8, 3] }
"""
ALEXNET = """
backend: "onnxruntime" max_batch_size: 4
input { name: "PIXELS" data_type: TYPE_UINT8 dims: [8, 8, 3] }
output { name: "PROBABILITIES" data_type: TYPE_FP32 dims: 2 label_filename: "labels.txt" }
"""
CLASSIFIER = """
platform: "ensemble" max_batch_size: 4
input { name: "IMAGE" data_type: TYPE_STRING dims: 1 }
output { name: "PROBABILITIES" data_type: TYPE_FP32 dims: 2 }
ensemble_scheduling {
  step { model_name: "preprocess" model_version: -1 input_map { key: "IMAGE" value: "IMAGE" }
         output_map { key: "PIXELS" value: "PIXELS" } }
  step { model_name: "alexnet" model_version: -1 input_map { key: "PIXELS" value: "PIXELS" }
         output_map { key: "PROBABILITIES" value: "PROBABILITIES" } }
}
"""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A repository that nothing is wrong with as far as files can tell."""
    files = {
        "preprocess/config.pbtxt": PREPROCESS,
        "preprocess/1/model.py": "",
        "alexnet/config.pbtxt": ALEXNET,
        "alexnet/labels.txt": "cat\ndog\n",
        "alexnet/1/model.onnx": "",
        "classifier/config.pbtxt": CLASSIFIER,
        "classifier/1/.gitkeep": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def findings_of() -> Callable[[Path], tuple[Finding, ...]]:
    return lambda repository: run_checks(Situation(repository, read_repository(repository), find_tritonserver()))


Checker = Callable[[Path], tuple[Finding, ...]]


def test_sound_repository_has_no_findings(sound: Path, findings_of: Checker) -> None:
    assert findings_of(sound) == ()


def test_config_that_does_not_parse_is_found_with_its_line(sound: Path, findings_of: Checker) -> None:
    (sound / "alexnet" / "config.pbtxt").write_text('backend: "onnxruntime"\nmax_batchsize: 4\n')

    (finding,) = findings_of(sound)

    assert finding.subject == "model alexnet"
    assert "2:1" in finding.found
    assert "max_batchsize" in finding.found
    assert "alexnet-build repository" in finding.command


def test_missing_config_is_found(sound: Path, findings_of: Checker) -> None:
    (sound / "alexnet" / "config.pbtxt").unlink()

    (finding,) = findings_of(sound)

    assert finding.found == "there is no config.pbtxt"
    assert str(sound / "alexnet" / "config.pbtxt") in finding.expected


def test_config_of_another_model_is_found(sound: Path, findings_of: Checker) -> None:
    (sound / "alexnet" / "config.pbtxt").write_text(f'name: "vgg"\n{ALEXNET}')

    (finding,) = findings_of(sound)

    assert finding.found == "config.pbtxt names the model 'vgg', the folder 'alexnet'"


def test_ensemble_step_without_model_is_found(sound: Path, findings_of: Checker) -> None:
    (sound / "alexnet").rename(sound / "vgg")

    (finding,) = findings_of(sound)

    assert finding.subject == "ensemble classifier"
    assert finding.found == "its step alexnet is not in the repository, which has classifier, preprocess, vgg"


@pytest.mark.parametrize(
    ("removed", "subject", "found"),
    [
        ("alexnet/1/model.onnx", "model alexnet, version 1", "no model.onnx"),
        ("preprocess/1/model.py", "model preprocess, version 1", "no model.py"),
    ],
)
def test_missing_model_file_is_found(sound: Path, findings_of: Checker, removed: str, subject: str, found: str) -> None:
    (sound / removed).unlink()

    (finding,) = findings_of(sound)

    assert (finding.subject, finding.found, finding.expected) == (subject, found, str(sound / removed))


def test_model_without_version_is_found(sound: Path, findings_of: Checker) -> None:
    (sound / "alexnet" / "1").rename(sound / "alexnet" / "first")

    (finding,) = findings_of(sound)

    assert (finding.subject, finding.found) == ("model alexnet", "it has no version")


def test_file_of_the_newest_version_is_asked_for_where_the_policy_is_silent(sound: Path, findings_of: Checker) -> None:
    (sound / "alexnet" / "12").mkdir()

    (finding,) = findings_of(sound)

    assert finding.subject == "model alexnet, version 12"


def test_named_model_file_is_asked_for(sound: Path, findings_of: Checker) -> None:
    config = sound / "alexnet" / "config.pbtxt"
    config.write_text(f'{ALEXNET}\ndefault_model_filename: "small.onnx"')

    (finding,) = findings_of(sound)

    assert finding.found == "no small.onnx"


def test_backend_that_the_server_lacks_is_found_with_the_command_that_builds_for_it(
    sound: Path, findings_of: Checker
) -> None:
    config = sound / "alexnet" / "config.pbtxt"
    config.write_text(ALEXNET.replace("onnxruntime", "tensorrt"))
    (sound / "alexnet" / "1" / "model.plan").touch()

    (finding,) = findings_of(sound)

    assert 'backend: "tensorrt"' in finding.found
    assert "onnxruntime, python" in finding.expected
    assert "--engine onnxruntime" in finding.command


@pytest.mark.parametrize(
    ("labels", "found"), [("cat\n", "has 1 lines"), ("cat\ndog\nemu\n", "has 3 lines"), (None, "no ")]
)
def test_labels_of_another_length_are_found(sound: Path, findings_of: Checker, labels: str | None, found: str) -> None:
    path = sound / "alexnet" / "labels.txt"
    path.write_text(labels) if labels else path.unlink()

    (finding,) = findings_of(sound)

    assert finding.subject == "model alexnet, output PROBABILITIES"
    assert found in finding.found
    assert finding.expected == "2 lines, one for each value of PROBABILITIES"


def test_numpy_2_is_found_in_the_python_of_the_models(
    sound: Path, findings_of: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"numpy": ("2.1.0", ""), "PIL": ("12.0", "")}
    monkeypatch.setattr(machine_checks, "_probe_packages", lambda _python, _packages, _environment: versions)

    (finding,) = findings_of(sound)

    assert finding.found == "NumPy 2.1.0, with which a BYTES tensor ends the stub"
    assert finding.command.endswith("-m pip install 'numpy<2'")


def test_package_that_cannot_be_imported_is_named_with_the_reason() -> None:
    found = machine_checks._probe_packages(sys.executable, ["PIL", "no_such_package"], {})

    assert found["PIL"][1] == ""
    assert found["no_such_package"] == ("", "ModuleNotFoundError: No module named 'no_such_package'")


def test_small_shared_memory_is_found(sound: Path, findings_of: Checker) -> None:
    # 64 Mi images of 8x8x3 pixels take 12 GiB in each model
    for model, config in (("preprocess", PREPROCESS), ("alexnet", ALEXNET)):
        batch = config.replace("max_batch_size: 4", "max_batch_size: 2147483647")
        (sound / model / "config.pbtxt").write_text(batch)

    (finding,) = findings_of(sound)

    assert finding.subject == "/dev/shm"
    assert "MiB free" in finding.found
    assert "--shm-size" in finding.command


def test_python_without_stub_is_found(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    wheel = tmp_path_factory.mktemp("wheel")
    for folder in ("bin", "backends/python", "python_backend_stubs/3.8"):
        (wheel / folder).mkdir(parents=True)
    server = TritonServer(wheel / "bin" / "tritonserver", "a test's")

    findings = list(machine_checks.check_stub(Situation(sound, read_repository(sound), server)))

    assert [finding.expected for finding in findings] == ["one of the Pythons 3.8"]


def test_missing_repository_is_an_error_with_the_command_that_builds_one(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="is not there\n  next: alexnet-build repository"):
        read_repository(tmp_path / "nowhere")


def test_empty_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="is empty"):
        read_repository(tmp_path)


def test_finding_reads_as_three_lines() -> None:
    finding = Finding("model alexnet", "no model.onnx", "alexnet/1/model.onnx", "alexnet-build repository")

    assert str(finding) == (
        "model alexnet: no model.onnx\n  expected: alexnet/1/model.onnx\n  next: alexnet-build repository"
    )
