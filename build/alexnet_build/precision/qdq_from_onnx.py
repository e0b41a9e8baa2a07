"""A graph to one whose convolutions and matrix products compute in INT8 or FP8, for TensorRT.

In: the same network exported in FP32, which is calibrated on, and in FP16 (or FP32), which layers that are left out
keep computing in. Out: the latter with explicit quantise and dequantise nodes, from which a strongly typed network
takes its precision. Called by ``engine``.

    x ─ QuantizeLinear ─ DequantizeLinear ─┐
                                           ├─ Conv | Gemm ─
    W in 8 bits ─────── DequantizeLinear ─┘

What TensorRT asks of such graphs (Working with Quantized Types): zero points are 0, weights may be stored quantised,
quantisers stand in front of every input of a layer that has weights, as near to it as possible; TensorRT moves them
over poolings by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.precision.calibration import LAYER_TYPES

QuantisedType = Literal["int8", "fp8"]

#: The largest magnitude that a type holds. INT8 leaves -128 out, to be symmetric; FP8 is E4M3 (Micikevicius et al., FP8
#: Formats for Deep Learning, 2022, table 1).
LARGEST = {"int8": 127.0, "fp8": 448.0}
#: FP8's exponents give small and large weights the same relative precision, so that one scale a tensor does.
_PER_CHANNEL = {"int8": True, "fp8": False}
#: ModelOpt's rules for what does not get faster: matrix products with fewer inputs or outputs, and in FP8 convolutions
#: with fewer channels or larger kernels than these.
_NARROW, _KERNEL_AREA = 16, 32


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product of a graph.

    Attributes:
        name: Of its weights without ``network.`` and ``.weight``: ``conv1``, ``fc6``.
        node: Of the graph.
        weights: (channels out, ...) float, as in the graph.
        channel_axis: Of the output channels in ``weights``.
    """

    name: str
    node: Any
    weights: np.ndarray
    channel_axis: int


def layers_of(model: Any) -> list[Layer]:
    """The convolutions and matrix products of an ``onnx.ModelProto``, in the order in which they run."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type not in LAYER_TYPES or node.input[1] not in tensors:
            continue
        weights = numpy_helper.to_array(tensors[node.input[1]])
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else 1
        name = node.input[1].removeprefix("network.").removesuffix(".weight")
        layers.append(Layer(name, node, weights, axis))
    return layers


def quantisable(onnx_file: Path, quantised: QuantisedType) -> list[str]:
    """Names of the layers that can compute in a type, in the order in which they run."""
    import onnx

    layers = layers_of(onnx.load(str(onnx_file)))
    return [layer.name for layer in layers if not _unsuited(layer, quantised)]


def qdq_from_onnx(
    onnx_file: Path,
    output: Path,
    quantised: QuantisedType,
    ranges: Mapping[str, float],
    weights_from: Path,
    *,
    keep: Sequence[str] = (),
) -> None:
    """Write a graph with quantise and dequantise nodes.

    Args:
        onnx_file: The graph, in the precision that is kept where nothing is quantised.
        output: Where the quantised graph goes.
        quantised: ``int8`` or ``fp8``.
        ranges: From ``activation_ranges`` of ``weights_from``.
        weights_from: The same network in FP32; its weights are what is rounded, once.
        keep: Names of layers that are not quantised.

    Raises:
        EngineError: The two graphs are not of the same network, or ``keep`` names a layer that there is not.
    """
    import onnx

    model, exact = onnx.load(str(onnx_file)), onnx.load(str(weights_from))
    layers, exact_layers = layers_of(model), layers_of(exact)
    names = [layer.name for layer in layers]
    if names != [layer.name for layer in exact_layers]:
        raise EngineError(f"{onnx_file} and {weights_from} are not exports of one network: {names}, other names there")
    if unknown := sorted(set(keep) - set(names)):
        raise EngineError(f"the network has no layer {', '.join(unknown)}; it has {', '.join(names)}")
    before: dict[int, list[Any]] = {}
    for layer, exact_layer in zip(layers, exact_layers, strict=True):
        if layer.name in keep or _unsuited(layer, quantised):
            continue
        largest = ranges[exact_layer.node.input[0]]
        nodes = _quantised_input(model, layer, quantised, largest)
        nodes += _quantised_weights(model, layer, quantised, exact_layer.weights)
        before[id(layer.node)] = nodes
    _insert(model, before)
    _drop_unused_weights(model)
    onnx.save(model, str(output))


def _unsuited(layer: Layer, quantised: QuantisedType) -> bool:
    """Whether a layer is better left alone: it would not get faster."""
    if layer.node.op_type == "Gemm":
        return min(layer.weights.shape) < _NARROW
    channels_out, channels_in, *kernel = layer.weights.shape
    return quantised == "fp8" and (min(channels_out, channels_in) < _NARROW or math.prod(kernel) > _KERNEL_AREA)


def _quantised_input(model: Any, layer: Layer, quantised: QuantisedType, largest: float) -> list[Any]:
    from onnx import helper

    source, name = layer.node.input[0], f"{layer.name}.input"
    scale = _scale(np.array(largest), quantised, layer.weights.dtype)
    _add(model, f"{name}_scale", scale)
    _add_quantised(model, f"{name}_zero", np.zeros((), np.float32), quantised)
    parameters = [f"{name}_scale", f"{name}_zero"]
    layer.node.input[0] = f"{name}_rounded"
    return [
        helper.make_node("QuantizeLinear", [source, *parameters], [f"{name}_quantised"], f"{name}_QuantizeLinear"),
        helper.make_node(
            "DequantizeLinear", [f"{name}_quantised", *parameters], [f"{name}_rounded"], f"{name}_DequantizeLinear"
        ),
    ]


def _quantised_weights(model: Any, layer: Layer, quantised: QuantisedType, exact: np.ndarray) -> list[Any]:
    from onnx import helper

    source, name, axis = layer.node.input[1], f"{layer.name}.weights", layer.channel_axis
    others = tuple(index for index in range(exact.ndim) if index != axis)
    per_channel = _PER_CHANNEL[quantised]
    scale = _scale(np.abs(exact).max(others if per_channel else None), quantised, layer.weights.dtype)
    spread = np.expand_dims(scale, others) if per_channel else scale
    _add(model, f"{name}_scale", scale)
    _add_quantised(model, f"{source}_quantised", exact / spread.astype(np.float32), quantised)
    _add_quantised(model, f"{name}_zero", np.zeros(scale.shape, np.float32), quantised)
    layer.node.input[1] = f"{name}_rounded"
    inputs = [f"{source}_quantised", f"{name}_scale", f"{name}_zero"]
    node = helper.make_node("DequantizeLinear", inputs, [f"{name}_rounded"], f"{name}_DequantizeLinear")
    if per_channel:
        node.attribute.append(helper.make_attribute("axis", axis))
    return [node]


def _scale(largest: np.ndarray, quantised: QuantisedType, dtype: np.dtype) -> np.ndarray:
    """The step of a range, in the type of the graph; a channel of zeros alone gets any step but 0."""
    step = (largest / LARGEST[quantised]).astype(dtype)
    return np.maximum(step, np.finfo(dtype).smallest_subnormal)


def _add(model: Any, name: str, values: np.ndarray) -> None:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))


def _add_quantised(model: Any, name: str, steps: np.ndarray, quantised: QuantisedType) -> None:
    import ml_dtypes
    from onnx import TensorProto, helper

    clipped = np.clip(steps, -LARGEST[quantised], LARGEST[quantised])
    if quantised == "int8":
        values, kind = np.rint(clipped).astype(np.int8), TensorProto.INT8
    else:
        values, kind = clipped.astype(ml_dtypes.float8_e4m3fn), TensorProto.FLOAT8E4M3FN
    model.graph.initializer.append(helper.make_tensor(name, kind, values.shape, values.tobytes(), raw=True))


def _insert(model: Any, before: Mapping[int, Sequence[Any]]) -> None:
    """Put nodes in front of the nodes that they belong to, as ONNX wants nodes in the order in which they run."""
    ordered = [new for node in model.graph.node for new in (*before.get(id(node), ()), node)]
    kept = [type(node).FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _drop_unused_weights(model: Any) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
