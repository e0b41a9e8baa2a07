"""Which session of the ONNX Runtime backend a batch runs on, alone and beside another instance."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

SOURCE = Path(__file__).parents[3] / "server" / "backends" / "onnxruntime" / "onnxruntime_sessions.py"
CORES = 4


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """The module as the backend has it, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("onnxruntime_sessions", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A network that doubles its input, (N, 3)."""
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([helper.make_node("Add", ["X", "X"], ["Y"])], "double", [x], [y])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CORES)))


def config(count: int, **parameters: str) -> dict[str, Any]:
    return {
        "instance_group": [{"count": count}],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }


def threads(session: Any) -> int | None:
    return None if session is None else session.get_session_options().intra_op_num_threads


class Recorder:
    """A session that keeps the names under which its runs are asked for."""

    def __init__(self, name: str, session: Any, ran: list[str]) -> None:
        self.name, self.session, self.ran = name, session, ran

    def run(self, output_names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.ran.append(self.name)
        return self.session.run(output_names, feeds)


class Observed:
    """Sessions of one of two instances, and the names of those that ran."""

    def __init__(self, module: ModuleType, path: Path) -> None:
        self.ran: list[str] = []
        self.sessions = module.Sessions(path, config(2))
        for name in ("batches", "alone"):
            setattr(self.sessions, name, Recorder(name, getattr(self.sessions, name), self.ran))

    def run(self, size: int) -> list[str]:
        """Run a batch, check the answer, and return which sessions ran so far."""
        pixels = np.arange(size * 3, dtype=np.float32).reshape(size, 3)
        (doubled,) = self.sessions.run(["Y"], {"X": pixels})
        np.testing.assert_array_equal(doubled, 2 * pixels)
        return self.ran


@pytest.fixture
def observed(module: ModuleType, model_file: Path) -> Observed:
    return Observed(module, model_file)


@pytest.fixture
def other_instance(model_file: Path) -> Iterator[Any]:
    """What another instance holds open; a lock belongs to the opening of a file, not to the process."""
    with model_file.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("asked", "batches", "alone"),
    [
        (config(1), 4, None),
        (config(2), 2, 4),
        (config(4), 1, 4),
        (config(8), 1, 4),
        (config(2, lone_image_session="0"), 2, None),
        (config(2, lone_image_session="1", intra_op_thread_count="3"), 3, 4),
        (config(2, intra_op_thread_count="4"), 4, None),
        (config(1, intra_op_thread_count="1"), 1, None),
        ({}, 4, None),
    ],
)
def test_instances_share_the_cores_and_have_all_for_an_image_alone(
    module: ModuleType, model_file: Path, asked: dict[str, Any], batches: int, alone: int | None
) -> None:
    sessions = module.Sessions(model_file, asked)
    assert (threads(sessions.batches), threads(sessions.alone)) == (batches, alone)


def test_image_alone_runs_on_all_cores_and_a_batch_on_its_share(observed: Observed) -> None:
    assert observed.run(1) == ["alone"]
    assert observed.run(2) == ["alone", "batches"]
    assert observed.run(1) == ["alone", "batches", "alone"]


@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_image_runs_on_its_share_while_another_instance_runs(
    observed: Observed, other_instance: Any, kind: int
) -> None:
    fcntl.flock(other_instance, kind)
    assert observed.run(1) == ["batches"]
    fcntl.flock(other_instance, fcntl.LOCK_UN)
    assert observed.run(1) == ["batches", "alone"]


def test_batch_does_not_wait_for_an_instance_that_has_all_cores(observed: Observed, other_instance: Any) -> None:
    fcntl.flock(other_instance, fcntl.LOCK_EX)
    assert observed.run(8) == ["batches"]


@pytest.mark.parametrize("size", [1, 2])
def test_cores_are_free_again_after_a_run_that_failed(observed: Observed, other_instance: Any, size: int) -> None:
    with pytest.raises(ValueError, match="Z"):
        observed.sessions.run(["Y"], {"Z": np.zeros((size, 3), np.float32)})
    fcntl.flock(other_instance, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_image_runs_on_its_share_where_files_have_no_locks(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, operation: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert observed.run(1) == ["batches"]
