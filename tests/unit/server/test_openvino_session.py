"""OpenVINO behind the methods of an ONNX Runtime session: the same descriptions, the same answers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

BACKEND = Path(__file__).parents[3] / "server" / "backends" / "onnxruntime"
MODULES = ("onnxruntime_sessions", "openvino_session")
OPENVINO = {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """onnxruntime_sessions as Triton's stub imports it, with its neighbour on the path."""
    monkeypatch.syspath_prepend(str(BACKEND))
    yield importlib.import_module("onnxruntime_sessions")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A network of one matrix product: X uint8 (N, 3) to Y float32 (N, 2) and Z int64 (N, 3)."""
    weights = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["X"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["float", "W"], ["Y"]),
        helper.make_node("Cast", ["X"], ["Z"], to=TensorProto.INT64),
    ]
    x = helper.make_tensor_value_info("X", TensorProto.UINT8, ["n", 3])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 2])
    z = helper.make_tensor_value_info("Z", TensorProto.INT64, ["n", 3])
    graph = helper.make_graph(nodes, "product", [x], [y, z], [numpy_helper.from_array(weights, "W")])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def config(count: int = 1, accelerator: dict[str, Any] = OPENVINO, **parameters: str) -> dict[str, Any]:
    values = {name: {"string_value": value} for name, value in parameters.items()}
    return {"instance_group": [{"count": count}], "parameters": values, **accelerator}


def described(tensors: list[Any]) -> dict[str, tuple[str, list[int | None]]]:
    """Type and sizes by name; ONNX Runtime gives open sizes a name, OpenVINO gives none."""
    return {t.name: (t.type, [size if isinstance(size, int) else None for size in t.shape]) for t in tensors}


def test_config_chooses_what_runs_the_network(backend: ModuleType, model_file: Path) -> None:
    assert type(backend.Sessions(model_file, config()).batches).__name__ == "OpenVinoSession"
    assert isinstance(backend.Sessions(model_file, config(accelerator={})).batches, onnxruntime.InferenceSession)


@pytest.mark.parametrize("size", [1, 5])
def test_answers_and_descriptions_are_those_of_onnx_runtime(backend: ModuleType, model_file: Path, size: int) -> None:
    ours = backend.Sessions(model_file, config())
    theirs = backend.Sessions(model_file, config(accelerator={}))
    assert described(ours.batches.get_inputs()) == described(theirs.batches.get_inputs())
    assert described(ours.batches.get_outputs()) == described(theirs.batches.get_outputs())
    pixels = np.random.default_rng(1).integers(0, 256, (size, 3), np.uint8)
    for names in (["Y"], ["Z", "Y"]):
        for found, expected in zip(ours.run(names, {"X": pixels}), theirs.run(names, {"X": pixels}), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_answers_outlive_the_next_run(backend: ModuleType, model_file: Path) -> None:
    sessions = backend.Sessions(model_file, config())
    (first,) = sessions.run(["Z"], {"X": np.full((2, 3), 7, np.uint8)})
    sessions.run(["Z"], {"X": np.full((2, 3), 9, np.uint8)})
    np.testing.assert_array_equal(first, np.full((2, 3), 7))


def test_copies_share_the_cores_and_have_all_for_an_image_alone(
    backend: ModuleType, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.os, "sched_getaffinity", lambda pid: {0, 1})

    def threads(session: Any) -> int:
        return session.network.get_property("INFERENCE_NUM_THREADS")

    two = backend.Sessions(model_file, config(2))
    assert (threads(two.batches), threads(two.alone)) == (1, 2)
    assert backend.Sessions(model_file, config(1)).alone is None
    assert backend.Sessions(model_file, config(2, lone_image_session="0")).alone is None


def test_unknown_accelerator_is_refused(backend: ModuleType, model_file: Path) -> None:
    other = {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "abacus"}]}}}
    with pytest.raises(backend.AcceleratorError, match='is "abacus", expected "openvino"'):
        backend.Sessions(model_file, config(accelerator=other))


def test_accelerator_that_is_not_installed_is_named_with_the_command_that_installs_it(
    backend: ModuleType, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(backend.AcceleratorError, match=r"openvino is not installed here .* -m pip install openvino"):
        backend.Sessions(model_file, config())
