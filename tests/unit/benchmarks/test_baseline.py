"""The network that the baseline serves is ours without its front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def test_float_network_gives_the_same_probabilities_for_normalised_pixels(tmp_path: Path, benchmark_module) -> None:
    onnx.save(tiny_network(), tmp_path / "ours.onnx")
    benchmark_module("baseline").write_float_network(tmp_path / "ours.onnx", tmp_path / "float.onnx")

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)  # (N, S, S, 3)
    normalised = (pixels.transpose(0, 3, 1, 2) * np.float32(0.5)).astype(np.float32)  # (N, 3, S, S)
    np.testing.assert_array_equal(run(tmp_path / "float.onnx", normalised), run(tmp_path / "ours.onnx", pixels))


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["PROBABILITIES"], {"PIXELS": pixels})[0]


def tiny_network() -> onnx.ModelProto:
    weights = np.random.default_rng(1).normal(0, 0.01, (5, 3, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["PIXELS"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["nchw", "scale"], ["normalised"]),
        helper.make_node("Conv", ["normalised", "weights"], ["scores"]),
        helper.make_node("Flatten", ["scores"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["PROBABILITIES"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(0.5), "scale"),
        numpy_helper.from_array(weights, "weights"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("PIXELS", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("PROBABILITIES", TensorProto.FLOAT, ["N", 5])],
        constants,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
