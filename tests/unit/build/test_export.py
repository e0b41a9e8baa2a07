from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from alexnet_build import plan_from_onnx as plans
from alexnet_build.errors import EngineError, MissingDependencyError
from alexnet_build.network import AlexNet2012, NetworkSpec, ServingGraph
from alexnet_build.onnx_from_network import check_onnx, onnx_from_network
from alexnet_build.plan_from_onnx import PlanOptions, plan_from_onnx
from alexnet_build.verify import Views, onnxruntime_infer, parity, simulated_infer, torch_probabilities
from alexnet_build.weights import SPEC_KEY, TrainedNetwork

SM86 = PlanOptions(max_batch=8, compute_capability=(8, 6))


def test_onnx_takes_pixels_of_any_batch_size_and_agrees_with_torch(
    trained: TrainedNetwork, onnx_files: dict[str, Path], views: Views
) -> None:
    infer = onnxruntime_infer(onnx_files["fp32"])
    found = parity(torch_probabilities(trained, views.pixels), infer, views, trained.spec.labels, 7)
    assert found.photographs == 115
    assert found.top1_agreement == found.top5_agreement == 1.0
    assert found.max_probability_difference < 1e-5


def test_onnx_in_fp16_keeps_the_softmax_in_fp32(onnx_files: dict[str, Path]) -> None:
    graph = onnx.load(str(onnx_files["fp16"])).graph
    element_types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = [
        element_types[name] for node in graph.node if node.op_type in ("Conv", "Gemm") for name in node.input[1:]
    ]
    assert set(weights) == {onnx.TensorProto.FLOAT16}
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    cast = next(node for node in graph.node if softmax.input[0] in node.output)
    assert cast.op_type == "Cast"
    assert cast.attribute[0].i == onnx.TensorProto.FLOAT
    assert onnx_files["fp16"].stat().st_size < 0.51 * onnx_files["fp32"].stat().st_size


def test_onnx_file_says_what_its_classes_are(trained: TrainedNetwork, onnx_files: dict[str, Path]) -> None:
    for path in onnx_files.values():
        metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        assert NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY])) == trained.spec


def test_onnx_file_is_the_same_every_time(trained: TrainedNetwork, onnx_files: dict[str, Path], tmp_path: Path) -> None:
    onnx_from_network(trained, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == onnx_files["fp32"].read_bytes()


def test_check_onnx_names_both_sides_when_the_graph_is_another_one(onnx_files: dict[str, Path]) -> None:
    with pytest.raises(EngineError, match=r"has PIXELS UINT8 \[\?,227,227,3\].*expected PIXELS UINT8 \[\?,224,224,3\]"):
        check_onnx(onnx_files["fp32"], 224, 3)


@pytest.mark.parametrize(("precision", "difference"), [("fp16", 2e-2), ("bf16", 0.2)])
def test_onnx_in_half_precision_says_nearly_what_torch_says(
    trained: TrainedNetwork, onnx_files: dict[str, Path], views: Views, precision: str, difference: float
) -> None:
    reference = torch_probabilities(trained, views.pixels)
    found = parity(reference, simulated_infer(onnx_files[precision]), views, trained.spec.labels, 16)
    assert found.mean_probability_difference > 0
    assert found.max_probability_difference < difference


def test_onnx_in_bf16_is_simulated_with_what_the_arithmetic_loses(
    trained: TrainedNetwork, onnx_files: dict[str, Path], views: Views
) -> None:
    in_torch = ServingGraph(copy.deepcopy(trained.network), trained.spec, dtype=torch.bfloat16, merge=True).eval()
    with torch.inference_mode():
        expected = in_torch(torch.from_numpy(views.pixels[:8])).numpy()
    exact = torch_probabilities(trained, views.pixels[:8])
    found = simulated_infer(onnx_files["bf16"])(views.pixels[:8])
    assert abs(found - expected).max() < 0.5 * abs(exact - expected).max()


def test_simulated_fp16_overflows_as_fp16_does(tmp_path: Path) -> None:
    """300 * 300 is above FP16's 65,504; computed in FP32 from end to end, it would come back as 300."""
    half, helper = onnx.TensorProto.FLOAT16, onnx.helper
    nodes = [
        helper.make_node("Cast", ["PIXELS"], ["x"], to=half),
        helper.make_node("Mul", ["x", "large"], ["square"]),
        helper.make_node("Relu", ["square"], ["kept"]),
        helper.make_node("Mul", ["kept", "small"], ["y"]),
        helper.make_node("Cast", ["y"], ["PROBABILITIES"], to=onnx.TensorProto.FLOAT),
    ]
    constants = [helper.make_tensor("large", half, [1], [300.0]), helper.make_tensor("small", half, [1], [1 / 300])]
    inputs = [helper.make_tensor_value_info("PIXELS", onnx.TensorProto.UINT8, ["N", 2])]
    outputs = [helper.make_tensor_value_info("PROBABILITIES", onnx.TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "overflow", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(tmp_path / "m.onnx"))
    answers = simulated_infer(tmp_path / "m.onnx")(np.array([[2, 250]], np.uint8))
    assert answers[0, 0] == pytest.approx(2, rel=1e-3)
    assert np.isinf(answers[0, 1])


def test_local_response_norm_stays_in_fp32(tmp_path: Path) -> None:
    network = AlexNet2012(3, local_response_norm=True).eval()
    spec = NetworkSpec("paper2012", ("a", "b", "c"), local_response_norm=True)
    half = ServingGraph(copy.deepcopy(network), spec, dtype=torch.float16).eval()
    with torch.inference_mode():
        large = torch.full((1, 96, 5, 5), 300.0)
        normed = half.network._normed(large.half())
        torch.testing.assert_close(normed.float(), network._normed(large), rtol=2e-3, atol=0)
    onnx_from_network(TrainedNetwork(spec, network), tmp_path / "m.onnx", precision="fp16")
    plan_from_onnx(tmp_path / "m.onnx", SM86, builder="tensorrt_rtx")


def test_builder_is_told_to_keep_fp32_exact_and_to_make_version_compatible_plans(onnx_files: dict[str, Path]) -> None:
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    assert trt.OnnxParser(network, logger).parse(onnx_files["fp32"].read_bytes())
    config = builder.create_builder_config()
    assert config.get_flag(trt.BuilderFlag.TF32)  # TensorRT's own default
    options = PlanOptions(8, version_compatible=True)
    plans._configure(trt, builder, config, network, options)
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_plan_compiles_ahead_of_time_for_a_gpu_that_is_not_here(onnx_files: dict[str, Path], precision: str) -> None:
    plan = plan_from_onnx(onnx_files[precision], SM86, builder="tensorrt_rtx")
    import tensorrt_rtx

    assert plan.compute_capability == "8.6"
    assert plan.version == tensorrt_rtx.__version__
    floor = 0.9 * onnx_files[precision].stat().st_size  # the weights are in it, in the graph's precision
    assert floor < len(plan.content) < 1.5 * onnx_files["fp32"].stat().st_size


@pytest.mark.filterwarnings("ignore:.*Timing cache:DeprecationWarning")  # TensorRT for RTX has none
def test_plan_keeps_measured_tactics_in_the_timing_cache(onnx_files: dict[str, Path], tmp_path: Path) -> None:
    cache = tmp_path / "caches" / "timing.cache"
    options = replace(SM86, timing_cache=cache)
    plan_from_onnx(onnx_files["fp16"], options, builder="tensorrt_rtx")
    assert cache.stat().st_size > 0
    plan_from_onnx(onnx_files["fp16"], options, builder="tensorrt_rtx")  # reads it again


def test_plan_says_what_tensorrt_did_not_understand(tmp_path: Path) -> None:
    node = onnx.helper.make_node("NoSuchOperator", ["PIXELS"], ["PROBABILITIES"], domain="nowhere")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [value("PIXELS", 1, ["N", 4])], [value("PROBABILITIES", 1, ["N", 4])])
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("nowhere", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), str(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match=r"TensorRT cannot parse .*\n  NoSuchOperator"):
        plan_from_onnx(tmp_path / "m.onnx", SM86, builder="tensorrt_rtx")


def test_plan_without_tensorrt_says_what_to_install_and_which_container_to_use() -> None:
    with pytest.raises(MissingDependencyError, match=r"docker compose .* builder.*pip install.*--engine onnxruntime"):
        plans.import_tensorrt("tensorrt_of_which_there_is_none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU on this machine")
def test_plan_without_a_gpu_says_so(onnx_files: dict[str, Path]) -> None:
    with pytest.raises(MissingDependencyError, match=r"finds none here.*--gpus all"):
        plan_from_onnx(onnx_files["fp32"], PlanOptions(), builder="tensorrt_rtx")
