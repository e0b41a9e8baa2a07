from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from alexnet_build import plan_from_onnx as plans
from alexnet_build.errors import EngineError, MissingDependencyError, ParityError
from alexnet_build.network import NetworkSpec
from alexnet_build.onnx_from_network import check_onnx, onnx_from_network
from alexnet_build.plan_from_onnx import PlanOptions, plan_from_onnx
from alexnet_build.verify import (
    PHOTOGRAPHS,
    Parity,
    check_parity,
    onnxruntime_infer,
    parity,
    photographs_in,
    pixels_to_compare,
    torch_probabilities,
)
from alexnet_build.weights import SPEC_KEY, TrainedNetwork

SM86 = PlanOptions(max_batch=8, compute_capability=(8, 6))


@pytest.fixture(scope="session")
def onnx_files(trained: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    files = {precision: folder / f"{precision}.onnx" for precision in ("fp32", "fp16")}
    for precision, path in files.items():
        onnx_from_network(trained, path, precision=precision)  # type: ignore[arg-type]
    return files


@pytest.fixture(scope="session")
def views(trained: TrainedNetwork) -> tuple[np.ndarray, list[str]]:
    return pixels_to_compare(photographs_in(PHOTOGRAPHS), trained.spec)


def test_onnx_takes_pixels_of_any_batch_size_and_agrees_with_torch(
    trained: TrainedNetwork, onnx_files: dict[str, Path], views: tuple[np.ndarray, list[str]]
) -> None:
    pixels, names = views
    found = parity(torch_probabilities(trained, pixels), onnxruntime_infer(onnx_files["fp32"]), pixels, names, 7)
    assert found.photographs == 15
    assert found.top1_agreement == 1.0
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


def test_parity_refuses_an_engine_with_one_shifted_layer(
    trained: TrainedNetwork, onnx_files: dict[str, Path], views: tuple[np.ndarray, list[str]], tmp_path: Path
) -> None:
    model = onnx.load(str(onnx_files["fp32"]))
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == convolution.input[1])
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 0.01, weight.name))
    onnx.save(model, str(tmp_path / "shifted.onnx"))
    pixels, names = views
    found = parity(torch_probabilities(trained, pixels), onnxruntime_infer(tmp_path / "shifted.onnx"), pixels, names, 8)
    with pytest.raises(ParityError, match=r"largest probability difference .* \(at most 1e-04\), worst on"):
        check_parity(found, "fp32")


@pytest.mark.parametrize(
    "wrong",
    [
        {"top1_agreement": 0.9},
        {"max_probability_difference": 0.5},
        {"max_probability_difference": float("nan")},
    ],
)
def test_check_parity_refuses_what_is_over_a_limit(wrong: dict[str, float]) -> None:
    good = Parity(100, 1.0, 1e-6, 1e-8, "cat.jpg")
    check_parity(good, "fp32")
    with pytest.raises(ParityError, match="nothing was published"):
        check_parity(replace(good, **wrong), "fp32")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
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
