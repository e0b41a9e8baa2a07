"""Repositories with nothing wrong, to break one thing in; and machines with GPUs, as far as checks look at them."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alexnet_server.discovery import TritonServer, find_tritonserver
from alexnet_server.findings import Finding, Situation, Target
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
PLAN = b"a plan!"
MANIFEST = {
    "engine": "tensorrt",
    "file": "model.plan",
    "engine_sha256": "6f6a9fae7dddf697286d8e60b800786a2e0cf0a50bb68bbd649ad30692763e4d",
    "engine_bytes": len(PLAN),
    "builder_version": "11.3.0.99",
    "compute_capability": "8.6",
    "hardware_compatibility": "none",
    "version_compatible": False,
    "precision": "fp16",
    "min_batch": 1,
    "max_batch": 4,
    "tensors": [
        {"name": "PIXELS", "kind": "input", "type": "TYPE_UINT8", "dims": [8, 8, 3]},
        {"name": "PROBABILITIES", "kind": "output", "type": "TYPE_FP32", "dims": [2]},
    ],
    "weights": {"source": "demo (alexnet_caltech101.safetensors.xz)", "classes": 2, "image_size": 8},
    "command": "alexnet-build repository --weights demo --engine tensorrt --precision fp16 --output elsewhere",
    "other_gpus": [],
}

Checker = Callable[..., tuple[Finding, ...]]
Editor = Callable[[Path, str, str], None]
Changer = Callable[..., None]
Machine = Callable[..., TritonServer]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A repository for ONNX Runtime that nothing is wrong with as far as files can tell."""
    repository = tmp_path / "models"
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
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    return repository


@pytest.fixture
def plans(sound: Path) -> Path:
    """The same for TensorRT 11.3.0 and a GPU of compute capability 8.6; the plan is seven bytes that none loads."""
    (sound / "alexnet" / "config.pbtxt").write_text(ALEXNET.replace("onnxruntime", "tensorrt"))
    (sound / "alexnet" / "1" / "model.onnx").unlink()
    (sound / "alexnet" / "1" / "model.plan").write_bytes(PLAN)
    (sound / "alexnet" / "1" / "manifest.json").write_text(json.dumps(MANIFEST))
    return sound


@pytest.fixture
def edit() -> Editor:
    """Replace a part of a file that has to be there."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return replace


@pytest.fixture
def change_manifest() -> Changer:
    """Give fields of a repository's manifest other values; None takes one away."""

    def change(repository: Path, **fields: Any) -> None:
        path = repository / "alexnet" / "1" / "manifest.json"
        values = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))

    return change


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with the GPUs and the TensorRT that it is called with.

    What is looked at is put where it is looked for: a file `nvidia-smi` on PATH that prints what it is given, and a
    folder with the names that a server with a TensorRT backend has. There is nothing in it that could serve.
    """
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TRT_VERSION", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(variable, raising=False)

    def build(*capabilities: str, tensorrt: str | None = "11.3.0", says: str | None = None) -> TritonServer:
        gpus = [f"{i}, GPU-{i}a5c, NVIDIA Test {cc}, {cc}" for i, cc in enumerate(capabilities)]
        bin_folder = tmp_path / "bin"
        script = says or "\n".join(["cat <<END", *gpus, "END"])
        install(bin_folder / "nvidia-smi", f"#!/bin/sh\n{script}\n")
        monkeypatch.setenv("PATH", f"{bin_folder}:{Path(sys.executable).parent}:/usr/bin:/bin")
        root = tmp_path / "tritonserver"
        for backend in ("python", "tensorrt"):
            (root / "backends" / backend).mkdir(parents=True, exist_ok=True)
        (root / "backends" / "tensorrt" / "libtriton_tensorrt.so").write_bytes(b"\0libnvinfer.so.11\0")
        if tensorrt:
            library = root / "backends" / "tensorrt" / f"libnvinfer.so.{tensorrt}"
            library.touch()
            library.with_name("libnvinfer.so.11").unlink(missing_ok=True)
            library.with_name("libnvinfer.so.11").symlink_to(library.name)
        return TritonServer(install(root / "bin" / "tritonserver", "#!/bin/sh\nexit 1\n"), "a test's")

    return build


def install(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


@pytest.fixture
def findings_of() -> Checker:
    """Every finding for a repository, on the embedded server or on the one given."""

    def check(
        repository: Path,
        server: TritonServer | None = None,
        *,
        flags: tuple[str, ...] = (),
        target: Target | None = None,
        hash_engines: bool = False,
    ) -> tuple[Finding, ...]:
        models = read_repository(repository)
        found = None if target else server or find_tritonserver()
        return run_checks(Situation(repository, models, found, flags, target, hash_engines))

    return check


@pytest.fixture
def file_findings(findings_of: Checker) -> Checker:
    """What files alone tell, of a repository that is for TensorRT 11.3 and a GPU of compute capability 8.6."""
    return partial(findings_of, target=Target(("8.6",), "11.3"))
