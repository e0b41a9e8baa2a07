"""Each check finds its fault in a repository that has just that one, and nothing in a sound one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_server import machine_checks
from alexnet_server.discovery import TritonServer, find_tritonserver
from alexnet_server.errors import ServerError
from alexnet_server.findings import Finding, Situation
from alexnet_server.repository import read_repository

Checker = Callable[..., tuple[Finding, ...]]
Editor = Callable[[Path, str, str], None]


def test_sound_repository_has_no_findings(sound: Path, findings_of: Checker) -> None:
    assert findings_of(sound) == ()


def test_config_that_does_not_parse_is_found_with_its_line(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / "config.pbtxt").write_text('backend: "onnxruntime"\nmax_batchsize: 4\n')

    (finding,) = file_findings(sound)

    assert finding.subject == "model alexnet"
    assert "2:1" in finding.found
    assert "max_batchsize" in finding.found
    assert "alexnet-build repository" in finding.command


def test_missing_config_is_found(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / "config.pbtxt").unlink()

    (finding,) = file_findings(sound)

    assert finding.found == "there is no config.pbtxt"
    assert str(sound / "alexnet" / "config.pbtxt") in finding.expected


def test_config_of_another_model_is_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    edit(sound / "alexnet" / "config.pbtxt", "backend:", 'name: "vgg" backend:')

    (finding,) = file_findings(sound)

    assert finding.found == "config.pbtxt names the model 'vgg', the folder 'alexnet'"


@pytest.mark.parametrize(
    ("removed", "subject", "found"),
    [
        ("alexnet/1/model.onnx", "model alexnet, version 1", "no model.onnx"),
        ("preprocess/1/model.py", "model preprocess, version 1", "no model.py"),
    ],
)
def test_missing_model_file_is_found(
    sound: Path, file_findings: Checker, removed: str, subject: str, found: str
) -> None:
    (sound / removed).unlink()

    (finding,) = file_findings(sound)

    assert (finding.subject, finding.found, finding.expected) == (subject, found, str(sound / removed))


def test_model_without_version_is_found(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / "1").rename(sound / "alexnet" / "first")

    (finding,) = file_findings(sound)

    assert (finding.subject, finding.found) == ("model alexnet", "it has no version")


def test_file_of_the_newest_version_is_asked_for_where_the_policy_is_silent(
    sound: Path, file_findings: Checker
) -> None:
    (sound / "alexnet" / "12").mkdir()

    (finding,) = file_findings(sound)

    assert finding.subject == "model alexnet, version 12"


def test_named_model_file_is_asked_for(sound: Path, edit: Editor, file_findings: Checker) -> None:
    edit(sound / "alexnet" / "config.pbtxt", "backend:", 'default_model_filename: "small.onnx" backend:')

    (finding,) = file_findings(sound)

    assert finding.found == "no small.onnx"


def test_model_file_that_is_a_broken_link_is_found(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / "1" / "model.onnx").unlink()
    (sound / "alexnet" / "1" / "model.onnx").symlink_to("/nowhere/model.onnx")

    (finding,) = file_findings(sound)

    assert finding.found == "model.onnx is a link to /nowhere/model.onnx, which is not there"


def test_folder_in_the_place_of_the_model_file_is_found(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / "1" / "model.onnx").unlink()
    (sound / "alexnet" / "1" / "model.onnx").mkdir()

    (finding,) = file_findings(sound)

    assert finding.found == "model.onnx is a folder"


def test_backend_named_by_its_platform_is_understood(sound: Path, edit: Editor, findings_of: Checker) -> None:
    edit(sound / "alexnet" / "config.pbtxt", 'backend: "onnxruntime"', 'platform: "onnxruntime_onnx"')

    assert findings_of(sound) == ()


def test_backend_that_the_server_lacks_is_found_with_the_command_that_builds_for_it(
    sound: Path, edit: Editor, findings_of: Checker
) -> None:
    edit(sound / "alexnet" / "config.pbtxt", "onnxruntime", "tensorrt")
    (sound / "alexnet" / "1" / "model.plan").touch()

    (finding,) = findings_of(sound)

    assert 'backend: "tensorrt"' in finding.found
    assert "onnxruntime, python" in finding.expected
    assert "--engine onnxruntime" in finding.command


@pytest.mark.parametrize(
    ("labels", "found"), [("cat\n", "has 1 lines"), ("cat\ndog\nemu\n", "has 3 lines"), (None, "no ")]
)
def test_labels_of_another_length_are_found(
    sound: Path, file_findings: Checker, labels: str | None, found: str
) -> None:
    path = sound / "alexnet" / "labels.txt"
    path.write_text(labels) if labels else path.unlink()

    (finding,) = file_findings(sound)

    assert finding.subject == "model alexnet, output PROBABILITIES"
    assert found in finding.found
    assert finding.expected == "2 lines, one for each value of PROBABILITIES"


@pytest.mark.parametrize("labels", [b"caf\xe9\ndog\n", "a\u2028b\ndog".encode()], ids=["latin-1", "line separator"])
def test_labels_are_counted_as_triton_counts_them(sound: Path, file_findings: Checker, labels: bytes) -> None:
    (sound / "alexnet" / "labels.txt").write_bytes(labels)

    assert file_findings(sound) == ()


def test_any_number_of_labels_will_do_where_the_output_is_open(
    sound: Path, edit: Editor, file_findings: Checker
) -> None:
    edit(sound / "alexnet" / "config.pbtxt", "dims: 2 ", "dims: -1 ")

    assert file_findings(sound) == ()


@pytest.mark.parametrize(
    ("added", "what"),
    [
        ("dynamic_batching { preferred_batch_size: [2, 5] }", "preferred_batch_size"),
        ("model_warmup { name: 'large' batch_size: 5 }", "model_warmup 'large'"),
    ],
)
def test_batch_larger_than_the_config_allows_is_found(
    sound: Path, edit: Editor, file_findings: Checker, added: str, what: str
) -> None:
    edit(sound / "alexnet" / "config.pbtxt", "backend:", f"{added} backend:")

    (finding,) = file_findings(sound)

    assert (finding.subject, finding.found) == ("model alexnet", f"{what} is a batch of 5, max_batch_size 4")
    assert finding.expected == "a batch of at most 4"


def test_missing_warm_up_file_is_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    inputs = "inputs { key: 'PIXELS' value { data_type: TYPE_UINT8 dims: [8, 8, 3] input_data_file: 'pixels' } }"
    edit(sound / "alexnet" / "config.pbtxt", "backend:", f"model_warmup {{ batch_size: 1 {inputs} }} backend:")
    (sound / "alexnet" / "warmup").mkdir()

    (finding,) = file_findings(sound)

    assert (finding.found, finding.expected) == ("no pixels", str(sound / "alexnet" / "warmup" / "pixels"))


def test_numpy_2_is_found_in_the_python_of_the_models(
    sound: Path, findings_of: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"numpy": ("2.1.0", ""), "PIL": ("12.0", "")}
    monkeypatch.setattr(machine_checks, "_probe_packages", lambda _python, _packages, _environment: versions)

    (finding,) = findings_of(sound)

    assert finding.found == "NumPy 2.1.0, with which a BYTES tensor ends the stub"
    assert finding.command.endswith("-m pip install 'numpy<2'")


def test_accelerator_of_the_config_is_looked_for_in_the_python_of_the_models(
    sound: Path, edit: Editor, findings_of: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(_python: str, packages: list[str], _environment: dict[str, str]) -> dict[str, tuple[str, str]]:
        missing = ("", "ModuleNotFoundError: No module named 'openvino'")
        return {package: missing if package == "openvino" else ("1.26", "") for package in packages}

    monkeypatch.setattr(machine_checks, "_probe_packages", probe)
    assert not findings_of(sound)
    accelerator = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
    edit(sound / "alexnet" / "config.pbtxt", "backend:", f"{accelerator} backend:")

    (finding,) = findings_of(sound)

    assert finding.found == "ModuleNotFoundError: No module named 'openvino'"
    assert finding.command.endswith("-m pip install 'openvino'")


@pytest.mark.parametrize(("device", "packages"), [("gpu", {"numpy", "PIL", "cupy"}), ("auto", {"numpy", "PIL"})])
def test_package_for_the_gpu_is_looked_for_where_the_config_insists_on_one(
    sound: Path, edit: Editor, findings_of: Checker, monkeypatch: pytest.MonkeyPatch, device: str, packages: set[str]
) -> None:
    asked: set[str] = set()

    def probe(_python: str, names: list[str], _environment: dict[str, str]) -> dict[str, tuple[str, str]]:
        asked.update(names)
        return dict.fromkeys(names, ("1.26", ""))

    monkeypatch.setattr(machine_checks, "_probe_packages", probe)
    parameter = f'parameters {{ key: "DEVICE" value {{ string_value: "{device}" }} }}'
    edit(sound / "preprocess" / "config.pbtxt", "backend:", f"{parameter} backend:")

    assert not findings_of(sound)
    assert asked - {"onnxruntime"} == packages


def test_package_that_cannot_be_imported_is_named_with_the_reason() -> None:
    found = machine_checks._probe_packages(sys.executable, ["PIL", "no_such_package"], {})

    assert found["PIL"][1] == ""
    assert found["no_such_package"] == ("", "ModuleNotFoundError: No module named 'no_such_package'")


def test_small_shared_memory_is_found(sound: Path, edit: Editor, findings_of: Checker) -> None:
    # 2 Gi images of 8x8x3 pixels take 384 GiB in each model
    for model in ("preprocess", "alexnet"):
        edit(sound / model / "config.pbtxt", "max_batch_size: 4", "max_batch_size: 2147483647")

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


@pytest.mark.parametrize(
    ("free", "notes"), [(64 << 20, ["only 64 MiB free, too little for large batches of large images"]), (1 << 30, [])]
)
def test_little_shared_memory_is_a_note(
    sound: Path, monkeypatch: pytest.MonkeyPatch, free: int, notes: list[str]
) -> None:
    monkeypatch.setattr(machine_checks, "free_bytes", lambda: free)
    situation = Situation(sound, read_repository(sound), find_tritonserver())

    assert [note.found for note in machine_checks.note_little_shared_memory(situation)] == notes


@pytest.mark.parametrize(
    ("processes", "found"), [(1, []), (4, []), (5, ["5 processes for 2 cores"]), (16, ["16 processes for 2 cores"])]
)
def test_processes_for_a_machine_of_more_cores_are_a_note(
    sound: Path, edit: Editor, monkeypatch: pytest.MonkeyPatch, processes: int, found: list[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    edit(sound / "preprocess" / "config.pbtxt", "backend:", f"instance_group {{ count: {processes} }} backend:")
    situation = Situation(sound, read_repository(sound), find_tritonserver())
    notes = list(machine_checks.note_many_instances(situation))
    assert [note.found for note in notes] == found
    assert {note.command for note in notes} <= {f"alexnet-build tune --repository {sound}"}


def test_python_that_cannot_be_started_is_named_with_the_reason() -> None:
    found = machine_checks._probe_packages("/nowhere/python3", ["PIL"], {})

    assert found == {"PIL": ("", "/nowhere/python3 fails: [Errno 2] No such file or directory: '/nowhere/python3'")}


def test_repository_is_read_without_importing_grpc(sound: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from alexnet_server.repository import read_repository;"
        "(alexnet, *_) = read_repository(Path(sys.argv[1])); print('grpc' in sys.modules);"
        "from tritonclient.grpc import model_config_pb2; print(type(alexnet.config) is model_config_pb2.ModelConfig)"
    )

    read = subprocess.run([sys.executable, "-c", program, sound], capture_output=True, text=True)

    assert (read.stdout, read.stderr) == ("False\nTrue\n", "")


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
