from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from alexnet_build.engine import Engine, verified_engine
from alexnet_build.errors import EngineError
from alexnet_build.int8_from_onnx import calibration_pixels
from alexnet_build.network import NetworkSpec
from alexnet_build.plan_from_onnx import PlanOptions
from alexnet_build.verify import PHOTOGRAPHS, onnxruntime_infer, photographs_in
from alexnet_build.weights import SPEC_KEY, load_weights

SPEC = NetworkSpec("paper2012", ("a", "b"))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return verified_engine(load_weights("demo"), "onnxruntime", "int8", PlanOptions(16), photographs_in(PHOTOGRAPHS))


def test_int8_engine_agrees_with_torch_and_is_a_quarter_of_the_size(engine: Engine) -> None:
    assert engine.precision == "int8"
    assert engine.parity.top1_agreement == 1.0
    assert engine.parity.max_probability_difference < 0.2
    assert 58_000_000 < len(engine.content) < 62_000_000  # 58.7 million weights


def test_int8_engine_computes_every_layer_with_weights_in_int8_and_softmax_without(engine: Engine) -> None:
    graph = onnx.load_from_string(engine.content).graph
    made_by = {name: node for node in graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 8
    for layer in layers:
        assert made_by[layer.input[0]].op_type == "DequantizeLinear"
        assert types[made_by[layer.input[1]].input[0]] == onnx.TensorProto.INT8
    assert [node.op_type for node in graph.node][-1] == "Softmax"


def test_int8_engine_says_what_its_classes_are(engine: Engine) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(engine.content).metadata_props}
    assert NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY])) == load_weights("demo").spec


def test_int8_engine_takes_any_batch_size(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(engine.content)
    infer = onnxruntime_infer(tmp_path / "m.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 227, 227, 3)).astype(np.uint8)
    np.testing.assert_allclose(np.concatenate([infer(pixels[:1]), infer(pixels[1:])]), infer(pixels), atol=1e-5)


def test_calibration_draws_the_same_crops_every_time() -> None:
    paths = photographs_in(PHOTOGRAPHS)
    first = calibration_pixels(paths, SPEC)
    assert (first.shape, first.dtype) == ((96, 227, 227, 3), np.uint8)
    np.testing.assert_array_equal(first, calibration_pixels(paths, SPEC))


def test_int8_for_tensorrt_is_refused_with_what_there_is() -> None:
    with pytest.raises(EngineError, match="no int8 with --engine tensorrt; expected --precision fp32 or fp16"):
        verified_engine(load_weights("demo"), "tensorrt", "int8", PlanOptions(16), photographs_in(PHOTOGRAPHS))
