from __future__ import annotations

import json
from pathlib import Path

from alexnet_server.commands import weights_of

ROOT = Path(__file__).parents[3]


def write_manifest(version: Path, source: str) -> None:
    version.mkdir(parents=True)
    (version / "manifest.json").write_text(json.dumps({"weights": {"source": source}}))


def test_weights_of_the_committed_repository_are_imagenets() -> None:
    assert weights_of(ROOT / "model_repository") == "imagenet"


def test_weights_of_a_repository_are_what_its_newest_manifest_says(tmp_path: Path) -> None:
    write_manifest(tmp_path / "alexnet" / "9", "demo (alexnet_caltech101.safetensors.xz)")
    write_manifest(tmp_path / "alexnet" / "10", "runs/mine/weights.safetensors (weights.safetensors)")
    assert weights_of(tmp_path) == "runs/mine/weights.safetensors"


def test_weights_of_an_empty_folder_are_the_demos(tmp_path: Path) -> None:
    assert weights_of(tmp_path) == "demo"


def test_weights_of_a_repository_with_a_damaged_manifest_follow_its_labels(tmp_path: Path) -> None:
    (tmp_path / "alexnet" / "1").mkdir(parents=True)
    (tmp_path / "alexnet" / "1" / "manifest.json").write_text("{")
    (tmp_path / "alexnet" / "labels.txt").write_text("a\nb\n")
    assert weights_of(tmp_path) == "demo"
