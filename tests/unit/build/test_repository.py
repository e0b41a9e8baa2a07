from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alexnet_build.engine import Engine
from alexnet_build.errors import PublishError
from alexnet_build.repository import publish
from alexnet_build.verify import Parity
from alexnet_build.weights import TrainedNetwork

ENGINE = Engine(
    kind="onnxruntime", content=b"an engine", builder_version="1.31.1", compute_capability=None, precision="fp32",
    max_batch=16, onnx_sha256="0" * 64, parity=Parity(115, 1.0, 1.0, 1e-6, 1e-8),
)  # fmt: skip


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
        "preprocess/1/image_preprocessing.py",
        "preprocess/1/model.py",
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


def test_publish_gives_each_of_several_publishers_a_version_of_its_own(trained: TrainedNetwork, tmp_path: Path) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(lambda _: publish(tmp_path / "models", trained, ENGINE), range(8)))
    assert sorted(entry.version for entry in published) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_published_files_can_be_read_by_another_user(trained: TrainedNetwork, tmp_path: Path) -> None:
    publish(tmp_path / "models", trained, ENGINE)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "models").rglob("*")]
    assert all(mode & 0o044 == 0o044 for mode in modes)
