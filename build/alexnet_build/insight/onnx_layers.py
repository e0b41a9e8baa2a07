"""What ONNX Runtime makes of a graph, and its profile, to layers.

In: the optimised graph (an ONNX file that ONNX Runtime wrote) and the events of its profiler. Out: ``Layer``s by batch
size. Both are plain data, so nothing here runs a network. Called by ``inspect_onnx``.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_build.insight import work
from alexnet_build.insight.layers import Kind, Layer, TensorShape

_NODE_SUFFIX = "_kernel_time"

_ELEMENTS = {
    "float": "FP32", "float16": "FP16", "bfloat16": "BF16", "double": "FP64", "int8": "INT8", "uint8": "UINT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "bool": "BOOL", "float8e4m3fn": "FP8", "float8e5m2": "FP8",
}  # fmt: skip

_CONVERSIONS = (
    "Cast", "Transpose", "Reorder", "Reshape", "Flatten", "queeze", "uantizeLinear", "Concat", "Identity",
)  # fmt: skip
_ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "Tanh", "Gelu")


@dataclass(frozen=True)
class Node:
    """A node of the optimised graph.

    Attributes:
        operator: Its operator, without the domain.
        constants: Its weights, biases and scales: everything that it reads which is not computed.
        attributes: ``kernel_shape``, ``size`` and whatever else it has.
    """

    operator: str
    constants: tuple[TensorShape, ...]
    attributes: Mapping[str, Any]

    @property
    def weights(self) -> TensorShape | None:
        """The largest constant of two or more dimensions."""
        return max((each for each in self.constants if len(each.dims) > 1), key=lambda w: w.elements, default=None)


def nodes_from_graph(onnx_file: Path) -> dict[str, Node]:
    """Read the graph that ONNX Runtime wrote after optimising; the nodes by name."""
    import onnx

    graph = onnx.load(str(onnx_file)).graph
    constants = {tensor.name: _shape_of_constant(tensor) for tensor in graph.initializer}
    return {
        node.name: Node(
            node.op_type,
            tuple(constants[name] for name in node.input if name in constants),
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
        for node in graph.node
    }


def layers_from_profile(
    events: Sequence[Mapping[str, Any]], nodes: Mapping[str, Node], runs: Sequence[int | None]
) -> dict[int, tuple[Layer, ...]]:
    """Median time of each node over the runs of a batch size.

    Args:
        events: The profiler's JSON: ``model_run`` events, and a ``Node`` event for each node of each run.
        nodes: The optimised graph.
        runs: The batch size of each run, in their order; None for one that does not count.

    Raises:
        ValueError: There are not as many runs in the profile.
    """
    spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run")
    if len(spans) != len(runs):
        raise ValueError(f"the profile has {len(spans)} runs; expected {len(runs)}")
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_NODE_SUFFIX)]
    kernels.sort(key=lambda event: event["ts"])
    times: dict[int, dict[str, list[int]]] = {size: {} for size in runs if size is not None}
    firsts: dict[int, dict[str, Mapping[str, Any]]] = {size: {} for size in times}
    run = 0
    for event in kernels:
        while event["ts"] > spans[run][1]:
            run += 1
        size = runs[run]
        if size is not None:
            name = event["name"].removesuffix(_NODE_SUFFIX)
            times[size].setdefault(name, []).append(event["dur"])
            firsts[size].setdefault(name, event["args"])
    return {
        size: tuple(
            _layer(name, args, nodes.get(name), statistics.median(times[size][name]) / 1e3)
            for name, args in firsts[size].items()
        )
        for size in times
    }


def _layer(name: str, args: Mapping[str, Any], node: Node | None, milliseconds: float) -> Layer:
    operator = args["op_name"]
    node = node or Node(operator, (), {})
    kind = kind_of_operator(operator)
    inputs, outputs = _shapes(args["input_type_shape"]), _shapes(args["output_type_shape"])
    # What the profiler calls an input may be a constant, or, packed beforehand, may be missing from its list.
    activations = _without(inputs, node.constants)
    weights = node.weights or next((each for each in inputs[1:] if len(each.dims) > 1), None)
    element = inputs[0].element if inputs else ""
    computes = kind in ("convolution", "fully connected")
    return Layer(
        name=name,
        kind=kind,
        operator=operator,
        precision="INT8" if computes and element in ("INT8", "UINT8") else element,
        inputs=activations,
        outputs=outputs,
        weights_bytes=sum(constant.bytes for constant in node.constants),
        flops=_flops(kind, outputs, weights, node.attributes),
        milliseconds=milliseconds,
    )


def kind_of_operator(operator: str) -> Kind:
    """What an ONNX operator does."""
    if "Conv" in operator:
        return "convolution"
    if "Gemm" in operator or "MatMul" in operator:
        return "fully connected"
    if "Pool" in operator:
        return "pooling"
    if operator == "LRN":
        return "normalisation"
    if "Softmax" in operator:
        return "softmax"
    if any(word in operator for word in _CONVERSIONS):
        return "conversion"
    return "activation" if any(word in operator for word in _ACTIVATIONS) else "other"


def _flops(
    kind: Kind, outputs: Sequence[TensorShape], weights: TensorShape | None, attributes: Mapping[str, Any]
) -> int:
    if not outputs or kind == "conversion":
        return 0
    dims = outputs[0].dims
    if kind == "convolution" and weights is not None:
        return work.convolution_flops(dims, weights.dims[1], weights.dims[2:])
    if kind == "fully connected" and weights is not None:
        features = weights.elements // dims[-1] if dims[-1] else 0
        return work.fully_connected_flops(dims, features)
    if kind == "pooling":
        return work.pooling_flops(dims, attributes.get("kernel_shape", ()))
    if kind == "normalisation":
        return work.normalisation_flops(dims, attributes.get("size", 0))
    return work.softmax_flops(dims) if kind == "softmax" else work.elementwise_flops(dims)


def _shapes(described: Sequence[Mapping[str, Sequence[int]]]) -> tuple[TensorShape, ...]:
    """The profiler's ``[{"float": [1, 3, 227, 227]}, ...]``."""
    return tuple(
        TensorShape(tuple(dims), _ELEMENTS.get(element, "")) for each in described for element, dims in each.items()
    )


def _without(inputs: Sequence[TensorShape], constants: Sequence[TensorShape]) -> tuple[TensorShape, ...]:
    left, activations = list(constants), []
    for tensor in inputs:
        if tensor in left:
            left.remove(tensor)
        else:
            activations.append(tensor)
    return tuple(activations)


def _shape_of_constant(tensor: Any) -> TensorShape:
    import onnx

    element = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name.replace("float32", "float")
    return TensorShape(tuple(tensor.dims), _ELEMENTS.get(element, ""))
