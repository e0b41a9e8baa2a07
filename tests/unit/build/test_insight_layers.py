from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from alexnet_build.errors import EngineError
from alexnet_build.insight import work
from alexnet_build.insight.layers import TensorShape
from alexnet_build.insight.onnx_layers import Node, kind_of_operator, layers_from_profile, nodes_from_graph
from alexnet_build.insight.plan_layers import layers_from_inspector, readable_name, unique_names

# work


def test_operations_of_the_paper_s_second_convolution() -> None:
    assert work.convolution_flops((1, 256, 27, 27), 96, (5, 5)) == 895_795_200
    assert work.convolution_flops((1, 256, 27, 27), 48, (5, 5)) == 447_897_600  # in two groups


def test_operations_of_the_whole_network_are_those_that_are_known_of_it() -> None:
    # 1.135 G multiply-adds in one column; in the paper's two groups, 0.724 G
    shapes = [(96, 55, 3, 11), (256, 27, 96, 5), (384, 13, 256, 3), (384, 13, 384, 3), (256, 13, 384, 3)]
    grouped = (1, 2, 1, 2, 2)
    products = [(4096, 9216), (4096, 4096), (1000, 4096)]
    dense = sum(work.fully_connected_flops((1, m), k) for m, k in products)
    one = sum(work.convolution_flops((1, m, s, s), c, (k, k)) for m, s, c, k in shapes)
    two = sum(
        work.convolution_flops((1, m, s, s), c // g, (k, k)) for (m, s, c, k), g in zip(shapes, grouped, strict=True)
    )
    assert (one + dense) // 2 == 1_135_256_096
    assert (two + dense) // 2 == 724_406_816


def test_operations_of_what_has_no_weights() -> None:
    assert work.pooling_flops((2, 96, 27, 27), (3, 3)) == 2 * 96 * 27 * 27 * 9
    assert work.normalisation_flops((1, 96, 55, 55), 5) == 96 * 55 * 55 * 14
    assert work.softmax_flops((3, 101)) == 3 * 101 * 5
    assert work.elementwise_flops((2, 4096)) == 8192


# ONNX Runtime


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("FusedConv", "convolution"), ("QLinearConv", "convolution"), ("Gemm", "fully connected"),
        ("QGemm", "fully connected"), ("MatMulIntegerToFloat", "fully connected"), ("NhwcMaxPool", "pooling"),
        ("LRN", "normalisation"), ("Softmax", "softmax"), ("Relu", "activation"), ("DequantizeLinear", "conversion"),
        ("DynamicQuantizeLinear", "conversion"), ("ReorderInput", "conversion"), ("Transpose", "conversion"),
        ("Unsqueeze", "conversion"), ("Add", "other"),
    ],
)  # fmt: skip
def test_kind_of_an_onnx_operator(operator: str, kind: str) -> None:
    assert kind_of_operator(operator) == kind


def kernel(name: str, operator: str, ts: int, dur: int, inputs: list, outputs: list) -> dict:
    args = {"op_name": operator, "input_type_shape": inputs, "output_type_shape": outputs, "node_index": "0"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "ph": "X", "args": args}


def run(ts: int, dur: int) -> dict:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "ph": "X", "args": {}}


NODES = {
    "conv": Node(
        "QLinearConv",
        (
            TensorShape((), "FP32"), TensorShape((), "UINT8"), TensorShape((256, 48, 5, 5), "INT8"),
            TensorShape((256,), "FP32"), TensorShape((256,), "INT32"),
        ),
        {"group": 2, "kernel_shape": [5, 5]},
    ),
    "fused gemm": Node("FusedGemm", (TensorShape((4096, 9216), "FP32"), TensorShape((4096,), "FP32")), {"transB": 1}),
    "pool": Node("MaxPool", (), {"kernel_shape": [3, 3]}),
}  # fmt: skip


def events(size: int, start: int, conv: int) -> list[dict]:
    """One run, as ONNX Runtime 1.32 writes it; microseconds."""
    return [
        kernel(
            "conv", "QLinearConv", start + 1, conv,
            [
                {"uint8": [size, 96, 27, 27]}, {"float": []}, {"uint8": []}, {"int8": [256, 48, 5, 5]},
                {"float": [256]}, {"int32": [256]},
            ],
            [{"uint8": [size, 256, 27, 27]}],
        ),
        kernel("pool", "MaxPool", start + 50, 5, [{"float": [size, 256, 13, 13]}], [{"float": [size, 256, 6, 6]}]),
        # a product's weights are packed beforehand and missing from its inputs
        kernel("fused gemm", "FusedGemm", start + 60, 20, [{"float": [size, 9216]}, {"float": [4096]}],
               [{"float": [size, 4096]}]),
        kernel("cast", "Cast", start + 90, 1, [{"float": [size, 4096]}], [{"float16": [size, 4096]}]),
        run(start, 100),
    ]  # fmt: skip


def test_layers_from_a_profile_have_median_times_by_batch_size() -> None:
    profile = [
        event for start, conv in ((0, 999), (1000, 40), (2000, 10), (3000, 20)) for event in events(1, start, conv)
    ]
    profile += events(4, 5000, 80)
    profile.append({"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 1, "args": {}})
    found = layers_from_profile(profile, NODES, [None, 1, 1, 1, 4])
    assert list(found) == [1, 4]
    assert [layer.name for layer in found[1]] == ["conv", "pool", "fused gemm", "cast"]
    conv, pool, gemm, cast = found[4]
    assert [layer.milliseconds for layer in found[1]] == [0.020, 0.005, 0.020, 0.001]
    assert (conv.milliseconds, conv.precision, conv.kind) == (0.080, "INT8", "convolution")
    assert conv.flops == work.convolution_flops((4, 256, 27, 27), 48, (5, 5))
    assert conv.inputs == (TensorShape((4, 96, 27, 27), "UINT8"),)
    assert conv.weights_bytes == 256 * 48 * 5 * 5 + 4 + 1 + 256 * 4 + 256 * 4
    assert pool.flops == 4 * 256 * 6 * 6 * 9
    assert gemm.flops == 2 * 4 * 9216 * 4096
    assert gemm.inputs == (TensorShape((4, 9216), "FP32"),)
    assert gemm.weights_bytes == 4 * (9216 * 4096 + 4096)
    assert (cast.kind, cast.flops, cast.outputs) == ("conversion", 0, (TensorShape((4, 4096), "FP16"),))


def test_a_node_without_constants_has_its_weights_among_its_inputs() -> None:
    profile = [
        kernel("conv", "FusedConv", 1, 30, [{"float": [1, 3, 227, 227]}, {"float": [96, 3, 11, 11]}],
               [{"float": [1, 96, 55, 55]}]),
        run(0, 100),
    ]  # fmt: skip
    (layer,) = layers_from_profile(profile, {}, [1])[1]
    assert layer.flops == work.convolution_flops((1, 96, 55, 55), 3, (11, 11))
    assert layer.moved_bytes == 4 * (3 * 227 * 227 + 96 * 3 * 11 * 11 + 96 * 55 * 55)


def test_a_profile_of_other_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="the profile has 1 runs; expected 2"):
        layers_from_profile(events(1, 0, 1), NODES, [1, 1])


def test_nodes_from_a_graph_have_their_constants(tmp_path: Path) -> None:
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    weights = helper.make_tensor("w", float_, [4, 2, 3, 3], [0.0] * 72)
    half = helper.make_tensor("b", onnx.TensorProto.FLOAT16, [4], [0] * 4)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "first", kernel_shape=[3, 3])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", float_, [1, 2, 5, 5])], [value("y", float_, [1, 4, 3, 3])], [weights, half]
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    (found,) = nodes_from_graph(tmp_path / "m.onnx").values()
    assert found.constants == (TensorShape((4, 2, 3, 3), "FP32"), TensorShape((4,), "FP16"))
    assert (found.operator, found.weights, list(found.attributes["kernel_shape"])) == (
        "Conv", TensorShape((4, 2, 3, 3), "FP32"), [3, 3],
    )  # fmt: skip


# TensorRT: written in the form that plan_layers.py describes with its sources, with AlexNet's values; no recording


def tensor(name: str, dims: list[int], described: str) -> dict:
    return {"Name": name, "Location": "Device", "Dimensions": dims, "Format/Datatype": described}


CONV2 = {
    "Name": "node_conv2d_1 + node_relu_1",
    "LayerType": "CaskConvolution",
    "Inputs": [tensor("max_pool2d", [8, 96, 27, 27], "Channel major FP16 format where channel % 8 == 0")],
    "Outputs": [tensor("relu_1", [8, 256, 27, 27], "Channel major FP16 format where channel % 8 == 0")],
    "ParameterType": "Convolution",
    "Kernel": [5, 5],
    "PaddingMode": "kEXPLICIT_ROUND_DOWN",
    "PrePadding": [2, 2],
    "PostPadding": [2, 2],
    "Stride": [1, 1],
    "Dilation": [1, 1],
    "OutMaps": 256,
    "Groups": 1,
    "Weights": {"Type": "Half", "Count": 614400},
    "Bias": {"Type": "Half", "Count": 256},
    "HasBias": 1,
    "HasReLU": 1,
    "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64x64",
    "TacticValue": "0x0866ddee325d07a6",
    "StreamId": 0,
    "Metadata": "[ONNX Layer: node_conv2d_1]\x1e[ONNX Layer: node_relu_1]",
}
POOL = {
    "Name": "node_max_pool2d_1",
    "LayerType": "CudaPooling",
    "Inputs": [tensor("relu_1", [8, 256, 27, 27], "Channel major FP16 format where channel % 8 == 0")],
    "Outputs": [tensor("max_pool2d_1", [8, 256, 13, 13], "Channel major FP16 format where channel % 8 == 0")],
    "ParameterType": "Pooling",
    "PoolingType": "MAX",
    "WindowSize": [3, 3],
    "TacticValue": "0xfffffffffffffffe",
}
MYELIN_PRODUCT = {
    "Name": "node_linear_myl0_3",
    "LayerType": "gemm",
    "Inputs": [
        {"Name": "__mye2312", "Dimensions": [4096, 9216], "Format/Datatype": "Half"},
        {"Name": "view", "Dimensions": [8, 9216], "Format/Datatype": "Half"},
    ],
    "Outputs": [{"Name": "linear", "Dimensions": [8, 4096], "Format/Datatype": "Half"}],
    "TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16_tn_n_tilesize64x64x64",
    "StreamId": 1,
}
REFORMAT = {
    "Name": "Reformatting CopyNode for Input Tensor 0 to node_conv2d + node_relu",
    "LayerType": "Reformat",
    "Inputs": [tensor("PIXELS", [8, 227, 227, 3], "Row major linear UInt8 format")],
    "Outputs": [tensor("Reformatted", [8, 227, 227, 3], "Row major linear FP32")],
    "ParameterType": "Reformat",
    "Origin": "REFORMAT",
    "TacticValue": "0x0000000000000000",
}


def inspector(*layers: object) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["PIXELS", "PROBABILITIES"]})


def test_layers_of_a_plan_have_precision_work_tactic_and_stream() -> None:
    reformat, conv, pool, product = layers_from_inspector(inspector(REFORMAT, CONV2, POOL, MYELIN_PRODUCT))
    assert (reformat.kind, reformat.precision, reformat.flops) == ("conversion", "UINT8", 0)
    assert reformat.moved_bytes == 5 * 8 * 227 * 227 * 3
    assert (conv.kind, conv.operator, conv.precision) == ("convolution", "CaskConvolution", "FP16")
    assert conv.flops == work.convolution_flops((8, 256, 27, 27), 96, (5, 5)) == 8 * 895_795_200
    assert conv.weights_bytes == 2 * (614400 + 256)
    assert conv.moved_bytes == 2 * (8 * 96 * 27 * 27 + 8 * 256 * 27 * 27 + 614400 + 256)
    assert conv.tactic == CONV2["TacticName"]
    assert (pool.kind, pool.flops, pool.tactic) == ("pooling", 8 * 256 * 13 * 13 * 9, "0xfffffffffffffffe")
    assert (product.kind, product.flops, product.stream) == ("fully connected", 2 * 8 * 9216 * 4096, 1)
    assert product.moved_bytes == 2 * (4096 * 9216 + 8 * 9216 + 8 * 4096)


def test_a_grouped_convolution_of_a_plan_computes_half() -> None:
    (conv,) = layers_from_inspector(inspector(CONV2 | {"Groups": 2, "Weights": {"Type": "Half", "Count": 307200}}))
    assert conv.flops == 8 * 447_897_600


def test_a_convolution_to_a_single_point_is_a_fully_connected_layer() -> None:
    (layer,) = layers_from_inspector(
        inspector(
            CONV2
            | {
                "Inputs": [tensor("x", [8, 256, 6, 6], "Half")], "Outputs": [tensor("y", [8, 4096, 1, 1], "Half")],
                "Kernel": [6, 6], "OutMaps": 4096, "Weights": {"Type": "Half", "Count": 4096 * 9216},
            }
        )
    )  # fmt: skip
    assert (layer.kind, layer.flops) == ("fully connected", 2 * 8 * 4096 * 9216)


@pytest.mark.parametrize(
    ("described", "element"),
    [
        ("Row major linear FP32", "FP32"), ("Row major linear FP16 format", "FP16"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "INT8"), ("Half", "FP16"), ("Float", "FP32"),
        ("BFloat16", "BF16"), ("Row major linear BFloat16 format", "BF16"), ("Row major linear FP8 format", "FP8"),
        ("FP8", "FP8"), ("Int8 NCHW", "INT8"), ("Half(64,1:8,...)", "FP16"), ("UInt8", "UINT8"), ("Int64", "INT64"),
        ("Row major linear BOOL", "BOOL"), ("N/A due to dynamic shapes", ""), ("", ""),
    ],
)  # fmt: skip
def test_type_of_a_tensor_in_the_inspector_s_words(described: str, element: str) -> None:
    (layer,) = layers_from_inspector(inspector({"Name": "x", "Inputs": [tensor("a", [2, 3], described)]}))
    assert layer.inputs == (TensorShape((2, 3), element),)


def test_the_type_may_stand_under_another_name() -> None:
    tensors = [{"Name": "a", "Dimensions": [1], key: "Half"} for key in ("Format/Datatype", "Datatype", "Format")]
    (layer,) = layers_from_inspector(inspector({"Name": "x", "Inputs": tensors}))
    assert [each.element for each in layer.inputs] == ["FP16"] * 3


def test_shapes_that_the_inspector_does_not_know_leave_the_work_out() -> None:
    unknown = CONV2 | {
        "Inputs": [tensor("x", [-1, 96, 27, 27], "N/A due to dynamic shapes")],
        "Outputs": [tensor("y", [-1, 256, 27, 27], "N/A due to dynamic shapes")],
    }
    (layer,) = layers_from_inspector(inspector(unknown))
    assert (layer.kind, layer.precision, layer.flops, layer.weights_bytes) == ("convolution", "FP16", 0, 1229312)


def test_layers_without_details_are_their_names() -> None:
    layers = layers_from_inspector(inspector("node_conv2d + node_relu", {"Name": "{ForeignNode[a...b]}"}, "softmax"))
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("node_conv2d + node_relu", "convolution"), ("{ForeignNode[a...b]}", "other"), ("softmax", "softmax"),
    ]  # fmt: skip


def test_layers_that_only_synchronise_streams_are_left_out() -> None:
    waiting = [{"Name": "wait", "LayerType": "wait"}, {"Name": "signal", "LayerType": "signal"}]
    assert [layer.name for layer in layers_from_inspector(inspector(*waiting, POOL))] == ["node_max_pool2d_1"]


def test_names_are_readable_and_each_is_one_layer_s() -> None:
    assert readable_name("a\x1eb\x1f\x1ec ") == "a + b + c"
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
    layers = layers_from_inspector(inspector(POOL, POOL))
    assert [layer.name for layer in layers] == ["node_max_pool2d_1", "node_max_pool2d_1 (2)"]


def test_control_characters_as_they_are_can_be_read() -> None:
    (layer,) = layers_from_inspector('{"Layers": [{"Name": "a\x1eb", "LayerType": "kgen"}]}')
    assert layer.name == "a + b"


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"Bindings": []}'])
def test_an_inspector_s_answer_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="the engine inspector's answer cannot be read"):
        layers_from_inspector(text)
