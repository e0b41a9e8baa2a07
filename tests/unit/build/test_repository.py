from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from alexnet_build.engine import Engine
from alexnet_build.errors import PublishError
from alexnet_build.repository import publish
from alexnet_build.tuning.machine import this_machine
from alexnet_build.tuning.settings import Tuning
from alexnet_build.verify import Parity
from alexnet_build.weights import TrainedNetwork
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

ENGINE = Engine(
    kind="onnxruntime", content=b"an engine", builder_version="1.31.1", compute_capability=None, precision="fp32",
    max_batch=16, onnx_sha256="0" * 64, parity=Parity(115, 1.0, 1.0, 1e-6, 1e-8),
)  # fmt: skip

SEEN = ("8.6", "8.9", "9.0")


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Writing a file of this name fails as on a full disk, after half of it."""
    write_bytes = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if path.name != name:
            return write_bytes(path, content)
        write_bytes(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)


def test_publish_makes_a_whole_repository_with_version_1(trained: TrainedNetwork, tmp_path: Path) -> None:
    published = publish(tmp_path / "models", trained, ENGINE)
    assert (published.version, published.directory) == (1, tmp_path / "models" / "alexnet" / "1")
    assert sorted(files_in(tmp_path / "models")) == [
        "alexnet/1/manifest.json",
        "alexnet/1/model.onnx",
        "alexnet/config.pbtxt",
        "alexnet/labels.txt",
        "alexnet/warmup/pixels",
        "classifier/1/.gitkeep",
        "classifier/config.pbtxt",
        "preprocess/1/answers.py",
        "preprocess/1/crop_resize.cu",
        "preprocess/1/cuda_device.py",
        "preprocess/1/device_choice.py",
        "preprocess/1/gpu_lanes.py",
        "preprocess/1/gpu_preprocessing.py",
        "preprocess/1/gpu_requests.py",
        "preprocess/1/image_preprocessing.py",
        "preprocess/1/jpeg_header.py",
        "preprocess/1/large_images.py",
        "preprocess/1/model.py",
        "preprocess/1/nvjpeg.py",
        "preprocess/1/parameters.py",
        "preprocess/config.pbtxt",
        "preprocess/warmup/photograph",
    ]
    assert (tmp_path / "models/alexnet/labels.txt").read_text() == "a\nb\nc\n"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_publish_writes_what_is_known_of_the_engine_into_the_manifest(trained: TrainedNetwork, tmp_path: Path) -> None:
    plan = replace(ENGINE, kind="tensorrt", precision="fp16", builder_version="11.3.0.99", compute_capability="8.6")
    published = publish(tmp_path / "models", trained, plan, command="alexnet-build repository --engine tensorrt")
    manifest = json.loads((published.directory / "manifest.json").read_text())
    assert (published.directory / "model.plan").read_bytes() == b"an engine"
    assert manifest["engine_sha256"] == "48189993a28ac7ea2c871d7c7c3ba80052d50958868ff560d01913094889afc8"
    expected = {
        "engine": "tensorrt", "builder_version": "11.3.0.99", "compute_capability": "8.6", "precision": "fp16",
        "min_batch": 1, "max_batch": 16, "onnx_sha256": "0" * 64,
        "command": "alexnet-build repository --engine tensorrt",
    }  # fmt: skip
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["parity"]["top1_agreement"] == 1.0
    assert manifest["weights"]["classes"] == 3


def test_manifest_says_what_the_preflight_compares(trained: TrainedNetwork, tmp_path: Path) -> None:
    plan = replace(
        ENGINE, kind="tensorrt", compute_capability="8.6", hardware_compatibility="ampere_plus", version_compatible=True
    )
    manifest = json.loads((publish(tmp_path / "models", trained, plan).directory / "manifest.json").read_text())
    assert (manifest["file"], manifest["engine_bytes"]) == ("model.plan", 9)
    assert (manifest["hardware_compatibility"], manifest["version_compatible"]) == ("ampere_plus", True)
    assert manifest["tensors"] == [
        {"name": "PIXELS", "kind": "input", "type": "TYPE_UINT8", "dims": [227, 227, 3]},
        {"name": "PROBABILITIES", "kind": "output", "type": "TYPE_FP32", "dims": [3]},
    ]
    assert manifest["other_gpus"] == []


def test_plans_for_other_gpus_are_carried_over_and_each_gpu_loads_its_own(
    trained: TrainedNetwork, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    for capability in ("8.6", "8.9", "9.0"):
        plan = replace(ENGINE, kind="tensorrt", content=capability.encode(), compute_capability=capability)
        published = publish(repository, trained, plan, keep_other_gpus=True, command=f"built for {capability}")
    files = {path.name: path.read_bytes() for path in published.directory.glob("*.plan")}
    assert files == {
        "model.plan": b"9.0", "model_sm90.plan": b"9.0", "model_sm89.plan": b"8.9", "model_sm86.plan": b"8.6",
    }  # fmt: skip
    config = text_format.Parse((repository / "alexnet/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert dict(config.cc_model_filenames) == {name: f"model_sm{name.replace('.', '')}.plan" for name in SEEN}
    assert config.default_model_filename == "model.plan"
    manifest = json.loads((published.directory / "manifest.json").read_text())
    assert manifest["compute_capability"] == "9.0"
    others = [(entry["compute_capability"], entry["file"], entry["command"]) for entry in manifest["other_gpus"]]
    assert others == [("8.9", "model_sm89.plan", "built for 8.9"), ("8.6", "model_sm86.plan", "built for 8.6")]
    # to go back to version 1, its plan must have the name that the config asks for
    assert (repository / "alexnet/1/model_sm86.plan").read_bytes() == b"8.6"


def test_plan_for_the_same_gpu_replaces_the_earlier_one(trained: TrainedNetwork, tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        plan = replace(ENGINE, kind="tensorrt", content=content, compute_capability="8.6")
        published = publish(tmp_path / "models", trained, plan, keep_other_gpus=True)
    assert [path.name for path in published.directory.glob("*.plan")] == ["model.plan"]
    assert (published.directory / "model.plan").read_bytes() == b"new"
    assert "cc_model_filenames" not in (tmp_path / "models/alexnet/config.pbtxt").read_text()


def test_plans_of_other_weights_are_not_carried_over_and_it_is_said(
    trained: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path / "models", trained, replace(ENGINE, kind="tensorrt", compute_capability="8.6"))
    other = replace(trained, sha256="1" * 64)
    plan = replace(ENGINE, kind="tensorrt", compute_capability="8.9")
    published = publish(tmp_path / "models", other, plan, keep_other_gpus=True)
    assert (
        "the plan for compute capability 8.6 is not kept, since it is of weights , here 111" in capsys.readouterr().err
    )
    assert [path.name for path in published.directory.glob("*.plan")] == ["model.plan"]


def test_publish_adds_the_next_version_and_leaves_the_old_one(trained: TrainedNetwork, tmp_path: Path) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    before = files_in(tmp_path / "models")
    published = publish(tmp_path / "models", trained, replace(ENGINE, content=b"a better engine"))
    after = files_in(tmp_path / "models")
    assert published.version == 2
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == ["alexnet/2/manifest.json", "alexnet/2/model.onnx"]


@pytest.mark.parametrize("name", ["model.onnx", "photograph", ".labels.txt.part"])
def test_publish_leaves_nothing_behind_when_the_disk_is_full(
    trained: TrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    full_disk(monkeypatch, {"photograph": ".photograph.part"}.get(name, name))
    with pytest.raises(PublishError, match="No space left on device; what was served before is untouched"):
        publish(tmp_path / "models", trained, ENGINE)
    assert list(tmp_path.iterdir()) == []


def test_publish_keeps_what_was_served_when_the_disk_is_full(
    trained: TrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    before = files_in(tmp_path / "models")
    full_disk(monkeypatch, "model.onnx")
    with pytest.raises(PublishError):
        publish(tmp_path / "models", trained, ENGINE)
    assert files_in(tmp_path / "models") == before


def test_publish_refuses_a_folder_that_serves_another_network(trained: TrainedNetwork, tmp_path: Path) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    before = files_in(tmp_path / "models")
    other = replace(trained, spec=trained.spec.with_labels(["x", "y", "z"]))
    with pytest.raises(PublishError, match=r"serves another network: its 3 labels \(a, b, c, ...\).*another --output"):
        publish(tmp_path / "models", other, ENGINE)
    assert files_in(tmp_path / "models") == before


def test_publish_keeps_what_was_tuned(trained: TrainedNetwork, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    publish(repository, trained, ENGINE)
    settings = asdict(Tuning(preprocess_instances=3, alexnet_instances=2))
    measured = {"settings": settings, "engine": {"engine": "onnxruntime"}, "machine": asdict(this_machine())}
    (repository / "tuning.json").write_text(json.dumps(measured))

    def instances(model: str) -> int:
        text = (repository / model / "config.pbtxt").read_text()
        return text_format.Parse(text, model_config_pb2.ModelConfig()).instance_group[0].count

    publish(repository, trained, ENGINE)
    assert (instances("preprocess"), instances("alexnet")) == (3, 2)
    publish(repository, trained, ENGINE, preprocess_instances=1)
    assert (instances("preprocess"), instances("alexnet")) == (1, 2)


def test_publish_chooses_instances_for_the_cores_of_the_machine_that_serves(
    trained: TrainedNetwork, tmp_path: Path
) -> None:
    publish(tmp_path / "models", trained, ENGINE, cores=16)
    texts = {model: (tmp_path / "models" / model / "config.pbtxt").read_text() for model in ("preprocess", "alexnet")}
    configs = {model: text_format.Parse(text, model_config_pb2.ModelConfig()) for model, text in texts.items()}
    assert {model: config.instance_group[0].count for model, config in configs.items()} == {
        "preprocess": 16,
        "alexnet": 4,
    }


def test_publish_gives_each_of_several_publishers_a_version_of_its_own(trained: TrainedNetwork, tmp_path: Path) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(lambda _: publish(tmp_path / "models", trained, ENGINE), range(8)))
    assert sorted(entry.version for entry in published) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_published_files_can_be_read_by_another_user(trained: TrainedNetwork, tmp_path: Path) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "models").rglob("*")]
    assert all(mode & 0o044 == 0o044 for mode in modes)
