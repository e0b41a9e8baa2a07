"""From a folder of somebody's photographs to a server that names their classes: train, build, serve, classify."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alexnet_server import running_server

FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_classes_of_a_folder_are_what_the_server_answers_with(shared_data: Path, tmp_path: Path) -> None:
    for split, count in (("train", 12), ("val", 4)):
        for label in FLOWERS:
            (tmp_path / "flowers" / split / label).mkdir(parents=True)
            for photograph in sorted((shared_data / "flowers" / split / label).iterdir())[:count]:
                shutil.copy(photograph, tmp_path / "flowers" / split / label)
    run(
        "alexnet_build", "train", "--data", str(tmp_path / "flowers"), "--from", "demo", "--epochs", "1",
        "--batch-size", "20", "--output", str(tmp_path / "run"),
    )  # fmt: skip
    weights = tmp_path / "run" / "weights.safetensors"
    run(
        "alexnet_build", "repository", "--weights", str(weights), "--engine", "onnxruntime", "--precision", "fp32",
        "--output", str(tmp_path / "models"),
    )  # fmt: skip
    flower = next((tmp_path / "flowers" / "val" / "roses").iterdir())
    with running_server(tmp_path / "models") as server:
        line = run("alexnet_client", "classify", str(flower), "--url", server.grpc_url, "--format", "jsonl")
        measured = run(
            "alexnet_build", "evaluate", "--data", str(tmp_path / "flowers"), "--weights", str(weights), "--url",
            server.grpc_url, "--format", "json",
        )  # fmt: skip
    assert sorted(p["label"] for p in json.loads(line)["predictions"]) == list(FLOWERS)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    sources = json.loads(measured)["sources"]
    assert [source["top1"] for source in sources] == [report["val"]["top1"]] * 2
