"""When the builder builds: the engine that is there against the one that would be built."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def load_module() -> ModuleType:
    path = ROOT / "docker" / "build_if_needed.py"
    spec = importlib.util.spec_from_file_location("build_if_needed", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


builder = load_module()

COMMAND = "alexnet-build repository --weights imagenet --engine tensorrt --output /models"
WANTED = builder.Wanted(COMMAND, "11.3.0.99", "8.9")
MANIFEST = {
    "engine": "tensorrt",
    "builder_version": "11.3.0.99",
    "compute_capability": "8.9",
    "precision": "fp16",
    "max_batch": 64,
    "command": COMMAND,
}


def write_version(repository: Path, version: str, manifest: dict[str, Any] | None) -> None:
    folder = repository / "alexnet" / version
    folder.mkdir(parents=True)
    (folder / "model.plan").write_bytes(b"plan")
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))


def test_build_command_asks_for_what_the_environment_says() -> None:
    environment = {
        "WEIGHTS": "/my weights.pth",
        "PRECISION": "int8",
        "MAX_BATCH": "32",
        "MODEL_REPOSITORY": "/models",
    }

    assert builder.build_command(environment) == (
        "alexnet-build repository --weights '/my weights.pth' --engine tensorrt --precision int8 "
        "--max-batch 32 --output /models"
    )


def test_build_command_takes_further_options() -> None:
    environment = {"WEIGHTS": "demo", "PRECISION": "int8", "MAX_BATCH": "8", "MODEL_REPOSITORY": "/models"}
    options = "--keep-other-gpus --calibration '/my photographs'"
    command = builder.build_command(environment | {"BUILD_OPTIONS": options})
    assert command.endswith("--output /models --keep-other-gpus --calibration '/my photographs'")


def test_nothing_to_build_when_the_version_holds_a_plan_for_this_gpu_beside_another() -> None:
    newest = MANIFEST | {"compute_capability": "8.6", "other_gpus": [MANIFEST]}
    assert builder.why_build(newest, WANTED) == []
    assert builder.why_build(newest, replace(WANTED, compute_capability="7.5")) == [
        "compute capability: 8.6 there, 7.5 here"
    ]


def test_nothing_to_build_when_the_engine_is_the_wanted_one() -> None:
    assert builder.why_build(MANIFEST, WANTED) == []


def test_build_without_an_engine() -> None:
    assert builder.why_build(None, WANTED) == ["there is no engine, or none that says how it was built"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"builder_version": "10.16.1.11"}, "TensorRT: 11.3.0.99 there, 10.16.1.11 here"),
        ({"compute_capability": "9.0"}, "compute capability: 8.9 there, 9.0 here"),
        ({"command": "alexnet-build other"}, f"command: {COMMAND} there, alexnet-build other here"),
    ],
    ids=["tensorrt", "gpu", "request"],
)
def test_build_when_the_engine_differs(change: dict[str, str], reason: str) -> None:
    assert builder.why_build(MANIFEST, replace(WANTED, **change)) == [reason]


def test_every_difference_is_named() -> None:
    manifest = {
        "engine": "onnxruntime",
        "builder_version": "1.31.1",
        "compute_capability": None,
        "command": "c",
    }

    assert builder.why_build(manifest, WANTED) == [
        f"command: c there, {COMMAND} here",
        "TensorRT: 1.31.1 there, 11.3.0.99 here",
        "compute capability: None there, 8.9 here",
    ]


def test_newest_manifest_is_that_of_the_highest_version(tmp_path: Path) -> None:
    write_version(tmp_path, "9", {"builder_version": "9"})
    write_version(tmp_path, "10", {"builder_version": "10"})
    write_version(tmp_path, "11.part", {"builder_version": "11"})  # Triton does not serve it either

    assert builder.newest_manifest({"MODEL_REPOSITORY": str(tmp_path)}) == {"builder_version": "10"}


def test_newest_manifest_is_none_when_only_an_older_version_has_one(tmp_path: Path) -> None:
    write_version(tmp_path, "1", MANIFEST)
    write_version(tmp_path, "2", None)

    assert builder.newest_manifest({"MODEL_REPOSITORY": str(tmp_path)}) is None


def test_newest_manifest_is_none_in_an_empty_volume(tmp_path: Path) -> None:
    assert builder.newest_manifest({"MODEL_REPOSITORY": str(tmp_path)}) is None


def test_tensorrt_version_is_that_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.3.0.99"))

    assert builder.tensorrt_version("11.3") == "11.3.0.99"


def test_tensorrt_version_is_refused_when_the_pin_says_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.30.0.1"))

    with pytest.raises(RuntimeError, match=r"TensorRT 11\.30\.0\.1, but docker/\.env says TENSORRT_VERSION=11\.3\n"):
        builder.tensorrt_version("11.3")


def test_compute_capability_is_refused_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RuntimeError, match="no NVIDIA GPU in this container"):
        builder.gpu_compute_capability()


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The builder's environment: a GPU of capability 8.9, and an alexnet-build that notes its words."""
    programs = {
        "nvidia-smi": "echo 8.9",
        "alexnet-build": f'for word in "$@"; do echo "$word"; done > {tmp_path}/built',
    }
    (tmp_path / "bin").mkdir()
    for name, script in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "tensorrt.py").write_text('__version__ = "11.3.0.99"\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "bin"))
    variables = {"WEIGHTS": "demo", "PRECISION": "fp16", "MAX_BATCH": "8", "TENSORRT_VERSION": "11.3"}
    for name, value in {**variables, "MODEL_REPOSITORY": str(tmp_path / "models")}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def run_builder(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docker" / "build_if_needed.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_builder_turns_into_alexnet_build_in_an_empty_volume(container: Path) -> None:
    finished = run_builder()

    assert finished.returncode == 0
    assert finished.stderr == ("builder: building, because\n  there is no engine, or none that says how it was built\n")
    # fmt: off
    assert (container / "built").read_text().splitlines() == [
        "repository", "--weights", "demo", "--engine", "tensorrt", "--precision", "fp16", "--max-batch", "8",
        "--output", str(container / "models"),
    ]
    # fmt: on


def test_builder_leaves_a_fitting_engine_unless_told_to_rebuild(container: Path) -> None:
    command = builder.build_command(os.environ)
    write_version(container / "models", "1", {**MANIFEST, "command": command})

    finished = run_builder()

    assert finished.returncode == 0
    assert finished.stderr == "builder: the engine fits, nothing to build\n"
    assert not (container / "built").exists()

    assert run_builder("--rebuild").stderr == "builder: building, because\n  asked for with --rebuild\n"
    assert (container / "built").exists()


def test_builder_fails_with_one_message_when_the_image_is_not_the_pinned_one(
    container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORRT_VERSION", "10.16")

    finished = run_builder()

    assert finished.returncode == 1
    assert finished.stderr.startswith("builder: this image has TensorRT 11.3.0.99, but docker/.env says")
    assert not (container / "built").exists()
