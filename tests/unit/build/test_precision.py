from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from alexnet_build.engine import Engine, EngineOptions, verified_engine
from alexnet_build.errors import EngineError
from alexnet_build.network import NetworkSpec
from alexnet_build.plan_from_onnx import PlanOptions, plan_from_onnx
from alexnet_build.precision.calibration import activation_ranges, calibration_pixels, random_crops
from alexnet_build.precision.onnx_in_precision import Quantising, onnx_in_precision
from alexnet_build.precision.qdq_from_onnx import qdq_from_onnx, quantisable
from alexnet_build.precision.sensitivity import LayerError, fewest_kept, layer_errors
from alexnet_build.verify import PHOTOGRAPHS, Views, onnxruntime_infer, photographs_in, simulated_infer
from alexnet_build.verify.parity import compared
from alexnet_build.weights import SPEC_KEY, TrainedNetwork, load_weights
from onnx import numpy_helper

SPEC = NetworkSpec("paper2012", ("a", "b"))
LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
OPTIONS = EngineOptions(PlanOptions(16), photographs_in(PHOTOGRAPHS))


@pytest.fixture(scope="module")
def engine() -> Engine:
    """What ONNX Runtime serves if nobody asks for a precision."""
    return verified_engine(load_weights("demo"), "onnxruntime", None, OPTIONS)


@pytest.fixture(scope="module")
def pixels(trained: TrainedNetwork) -> np.ndarray:
    return random_crops(photographs_in(PHOTOGRAPHS), trained.spec, 16, seed=0)


@pytest.fixture(scope="module")
def ranges(onnx_files: dict[str, Path], pixels: np.ndarray) -> dict[str, float]:
    return activation_ranges(onnx_files["fp32"], pixels, "max")


@pytest.fixture(scope="module")
def qdq_files(
    onnx_files: dict[str, Path], ranges: dict[str, float], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The network in INT8 and FP8 for TensorRT, with all its layers rounded that can be."""
    files = {quantised: tmp_path_factory.mktemp("qdq") / f"{quantised}.onnx" for quantised in ("int8", "fp8")}
    for quantised, path in files.items():
        qdq_from_onnx(onnx_files["fp16"], path, quantised, ranges, onnx_files["fp32"])  # type: ignore[arg-type]
    return files


def test_onnxruntime_serves_int8_by_default_where_that_agrees_with_torch(engine: Engine) -> None:
    assert engine.precision == "int8"
    assert engine.parity.top1_agreement >= 0.95
    assert engine.parity.mean_probability_difference < 0.08
    assert engine.quantised is not None
    assert (engine.quantised.kept, engine.quantised.calibrated_on) == (("fc8",), 96)
    assert 58_000_000 < len(engine.content) < 62_000_000  # 58.7 million weights


def test_onnxruntime_serves_fp32_by_default_where_int8_does_not_agree(
    trained: TrainedNetwork, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import alexnet_build.engine as engines

    def broken_int8(_trained: object, path: Path, _kind: str, precision: str, quantising: object) -> None:
        onnx_in_precision(trained, path, "onnxruntime", "fp32")
        if precision == "int8":
            shift_first_layer(path)

    monkeypatch.setattr(engines, "onnx_in_precision", broken_int8)
    made = verified_engine(trained, "onnxruntime", None, OPTIONS)
    assert made.precision == "fp32"
    assert made.parity.top1_agreement == 1.0
    assert "the int8 engine does not agree with torch" in (said := capsys.readouterr().err)
    assert "going on with fp32" in said


def test_int8_engine_computes_every_layer_with_weights_in_int8_and_softmax_without(engine: Engine) -> None:
    graph = onnx.load_from_string(engine.content).graph
    made_by = {name: node for node in graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 8
    assert types[layers[-1].input[1]] == onnx.TensorProto.FLOAT  # the last one stays
    for layer in layers[:-1]:
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


def test_int8_engine_leaves_the_layers_that_are_named_in_fp32(
    trained: TrainedNetwork, pixels: np.ndarray, tmp_path: Path
) -> None:
    quantising = Quantising(pixels, pixels[:2], keep=("fc8", "conv1"))
    onnx_in_precision(trained, tmp_path / "m.onnx", "onnxruntime", "int8", quantising)
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    in_fp32 = [node.input[1] for node in layers if types.get(node.input[1]) == onnx.TensorProto.FLOAT]
    assert in_fp32 == ["network.conv1.weight", "network.fc8.weight"]


def test_calibration_draws_the_same_crops_every_time() -> None:
    paths = photographs_in(PHOTOGRAPHS)
    first = calibration_pixels(paths, SPEC)
    assert (first.shape, first.dtype) == ((96, 227, 227, 3), np.uint8)
    np.testing.assert_array_equal(first, calibration_pixels(paths, SPEC))
    assert not np.array_equal(first, random_crops(paths, SPEC, 96, seed=1))


def test_largest_activations_are_what_max_calibrates_and_entropy_cuts(
    onnx_files: dict[str, Path], pixels: np.ndarray, ranges: dict[str, float]
) -> None:
    assert ranges["permute"] == 255.0  # white pixels, which the first layer takes as they are
    assert len(ranges) == 8
    entropy = activation_ranges(onnx_files["fp32"], pixels, "entropy")
    assert entropy.keys() == ranges.keys()
    assert all(entropy[name] <= 1.001 * largest for name, largest in ranges.items())
    assert sum(entropy[name] < 0.9 * largest for name, largest in ranges.items()) >= 3


@pytest.mark.parametrize(("quantised", "kind"), [("int8", "INT8"), ("fp8", "FLOAT8E4M3FN")])
def test_qdq_graph_quantises_inputs_and_stored_weights_of_its_layers(
    qdq_files: dict[str, Path], quantised: str, kind: str
) -> None:
    model = onnx.load(str(qdq_files[quantised]))
    onnx.checker.check_model(model, full_check=True)
    made_by = {name: node for node in model.graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    rounded = layers[:-1] if quantised == "int8" else layers[1:-1]  # three channels and three classes are too few
    assert len(layers) == 8
    for layer in rounded:
        dequantised = made_by[layer.input[0]]
        assert (dequantised.op_type, made_by[dequantised.input[0]].op_type) == ("DequantizeLinear", "QuantizeLinear")
        weights = made_by[layer.input[1]]
        assert weights.op_type == "DequantizeLinear"
        assert onnx.TensorProto.DataType.Name(tensors[weights.input[0]].data_type) == kind
        zero = numpy_helper.to_array(tensors[weights.input[2]]).astype(np.float32)
        assert not zero.any()
        scales = numpy_helper.to_array(tensors[weights.input[1]])
        channels = tensors[weights.input[0]].dims[0]
        assert scales.shape == ((channels,) if quantised == "int8" else ())
        assert scales.dtype == np.float16
    assert qdq_files[quantised].stat().st_size < 1.02 * 58_300_000  # a byte a weight


def test_qdq_graph_rounds_weights_to_the_nearest_step(qdq_files: dict[str, Path], trained: TrainedNetwork) -> None:
    tensors = {tensor.name: tensor for tensor in onnx.load(str(qdq_files["int8"])).graph.initializer}
    rounded = numpy_helper.to_array(tensors["network.fc7.weight_quantised"]).astype(np.float32)
    scales = numpy_helper.to_array(tensors["fc7.weights_scale"]).astype(np.float32)[:, None]
    exact = trained.network.fc7.weight.detach().numpy()
    assert np.abs(rounded).max() == 127
    assert (np.abs(rounded * scales - exact) <= scales * 0.51).all()


@pytest.mark.parametrize(("quantised", "agreement", "moved"), [("int8", 0.95, 0.05), ("fp8", 0.9, 0.05)])
def test_qdq_graph_says_nearly_what_the_exact_one_says(
    onnx_files: dict[str, Path], qdq_files: dict[str, Path], views: Views, trained: TrainedNetwork, quantised: str,
    agreement: float, moved: float,
) -> None:  # fmt: skip
    reference = onnxruntime_infer(onnx_files["fp32"])(views.pixels)
    found = compared(reference, simulated_infer(qdq_files[quantised])(views.pixels), views, trained.spec.labels)
    assert found.top1_agreement >= agreement
    assert 1e-4 < found.mean_probability_difference < moved


def test_qdq_graph_keeps_what_the_file_says_of_itself(qdq_files: dict[str, Path], trained: TrainedNetwork) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(str(qdq_files["fp8"])).metadata_props}
    assert NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY])) == trained.spec


@pytest.mark.parametrize(("quantised", "capability"), [("int8", (8, 6)), ("int8", (12, 0)), ("fp8", (8, 9))])
def test_qdq_graph_compiles_ahead_of_time(
    qdq_files: dict[str, Path], quantised: str, capability: tuple[int, int]
) -> None:
    options = PlanOptions(max_batch=8, compute_capability=capability)
    plan = plan_from_onnx(qdq_files[quantised], options, builder="tensorrt_rtx")
    assert 58_000_000 < len(plan.content) < 65_000_000  # the weights stay in a byte each


def test_qdq_graph_leaves_the_layers_that_are_named(
    onnx_files: dict[str, Path], ranges: dict[str, float], tmp_path: Path
) -> None:
    qdq_from_onnx(onnx_files["fp16"], tmp_path / "m.onnx", "int8", ranges, onnx_files["fp32"], keep=("conv1", "fc7"))
    assert quantisable(tmp_path / "m.onnx", "int8") == ["conv1", "fc7"]  # those that still have weights to round
    with pytest.raises(EngineError, match=r"no layer conv9; it has conv1, .*, fc8"):
        qdq_from_onnx(onnx_files["fp16"], tmp_path / "n.onnx", "int8", ranges, onnx_files["fp32"], keep=("conv9",))


def test_layers_that_cannot_be_rounded_are_not_offered(onnx_files: dict[str, Path]) -> None:
    """fc8 has three outputs here; conv1 has three inputs, and kernels of 11 x 11."""
    assert quantisable(onnx_files["fp16"], "int8") == LAYERS[:-1]
    assert quantisable(onnx_files["fp16"], "fp8") == LAYERS[1:-1]


def test_layer_errors_are_those_of_each_layer_alone_and_sorted() -> None:
    reference = np.array([[0.9, 0.1], [0.2, 0.8]])
    moved = {"a": 0.1, "b": 0.5, "c": 0.0}

    def answers(keep: Sequence[str]) -> np.ndarray:
        shift = sum(moved[name] for name in moved if name not in keep)
        return reference + np.array([[-shift, shift], [0, 0]])

    errors = layer_errors(list(moved), answers, reference)
    assert [error.layer for error in errors] == ["b", "a", "c"]
    assert errors[0].mean_probability_difference == pytest.approx(0.25)
    assert [error.top1_agreement for error in errors] == [0.5, 1.0, 1.0]


def test_fewest_layers_are_kept_that_make_the_answers_acceptable() -> None:
    errors = [LayerError(name, error, 1.0) for name, error in (("b", 0.4), ("a", 0.1), ("c", 0.0))]
    assert fewest_kept(errors, lambda keep: True) == ("b",)
    assert fewest_kept(errors, lambda keep: "a" in keep) == ("b", "a")
    assert fewest_kept(errors, lambda keep: False) == ("b", "a", "c")


def test_layer_that_cannot_stand_rounding_is_found_and_left(trained: TrainedNetwork, tmp_path: Path) -> None:
    """One channel of fc6 is far larger than the others: steps of one scale for all inputs of fc7 lose the rest."""
    import copy

    import torch

    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        network.fc6.weight[0] = network.fc6.weight.abs().mean(0) * 10  # positive inputs: large for every view
        network.fc7.weight[:, 0] = 1e-6
    awkward = TrainedNetwork(trained.spec, network)
    crops = random_crops(photographs_in(PHOTOGRAPHS), trained.spec, 24, seed=0)
    quantising = Quantising(crops, random_crops(photographs_in(PHOTOGRAPHS), trained.spec, 24, seed=2))
    found = onnx_in_precision(awkward, tmp_path / "m.onnx", "tensorrt", "int8", quantising)
    assert found is not None
    assert found.layer_errors[0].layer == "fc7"
    assert found.kept == ("fc7",)
    assert quantisable(tmp_path / "m.onnx", "int8") == ["fc7"]


def test_precision_that_an_engine_does_not_compute_in_is_refused_with_what_there_is(
    trained: TrainedNetwork, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="no fp8 with --engine onnxruntime; expected --precision fp32 or int8"):
        onnx_in_precision(trained, tmp_path / "m.onnx", "onnxruntime", "fp8")


def test_entropy_is_refused_where_it_would_change_nothing(trained: TrainedNetwork, tmp_path: Path) -> None:
    crops = np.zeros((2, 227, 227, 3), np.uint8)
    with pytest.raises(EngineError, match="--ranges max alone; entropy is for --engine tensorrt"):
        onnx_in_precision(trained, tmp_path / "m.onnx", "onnxruntime", "int8", Quantising(crops, crops, "entropy"))


def shift_first_layer(path: Path) -> None:
    """Damage a graph: add 0.01 to every weight of the first convolution, which are of that size."""
    model = onnx.load(str(path))
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == convolution.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    onnx.save(model, str(path))
