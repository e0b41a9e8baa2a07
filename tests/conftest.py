"""What the tests share: real photographs, a repository with the demo network, and a real server on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PHOTOGRAPHS = ROOT / "build" / "alexnet_build" / "photographs"
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """The photographs that the project carries: JPEG files, by name."""
    return sorted(PHOTOGRAPHS.glob("*.jpg"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data sets beside the repository; a clone that has none skips what needs them."""
    if not SHARED_DATA.is_dir():
        reason = f"no data sets at {SHARED_DATA}, where this test finds more photographs"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the demo network in FP32, for ONNX Runtime; not to be written to."""
    folder = tmp_path_factory.mktemp("repository") / "models"
    command = ["repository", "--weights", "demo", "--engine", "onnxruntime", "--precision", "fp32"]
    command += ["--output", str(folder)]
    built = subprocess.run([sys.executable, "-m", "alexnet_build", *command], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator:
    """A real Triton Inference Server on `repository`: .grpc_url, .http_url, .metrics_url, .repository."""
    from alexnet_server import running_server

    with running_server(repository) as running:
        yield running
