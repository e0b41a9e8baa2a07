"""What TensorRT's engine inspector says of a plan, to layers.

In: the text of ``EngineInspector.get_engine_information(JSON)`` for a plan that was built with detailed profiling
verbosity, with an execution context whose shapes are set (without one, dimensions are -1). Out: ``Layer``s. Called by
``inspect_plan``.

The form, by TensorRT's documentation (Engine Inspector) and by the examples and the parser of NVIDIA's TensorRT Engine
Explorer (``trex/parser.py``, ``trex/layer.py``, ``trex/activations.py``)::

    {"Layers": [{"Name": ..., "LayerType": "CaskConvolution", "ParameterType": "Convolution",
                 "Inputs": [{"Name": ..., "Dimensions": [8, 3, 227, 227], "Format/Datatype": "Channel major FP16 ..."}],
                 "Outputs": [...], "Kernel": [11, 11], "OutMaps": 96, "Groups": 1,
                 "Weights": {"Type": "Half", "Count": 34848}, "Bias": {...},
                 "TacticName": ..., "TacticValue": "0x...", "StreamId": 0, "Metadata": "[ONNX Layer: ...]"}, ...],
     "Bindings": ["PIXELS", "PROBABILITIES"]}

Every field but the name may be missing, and with lower verbosity a layer is its name alone.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from alexnet_build.errors import EngineError
from alexnet_build.insight import work
from alexnet_build.insight.layers import Kind, Layer, TensorShape

#: How the inspector names types: in the description of a format ("Channel major FP16 format where channel % 8 == 0"),
#: or alone, as Myelin's kernels do ("Half"). The first that is found counts.
_ELEMENTS = (
    (r"\bb(f|float)16", "BF16"), (r"\b(fp|float)8", "FP8"), (r"\b(fp|float)16|\bhalf", "FP16"), (r"\btf32", "TF32"),
    (r"\b(fp|float)32|\bfloat\b", "FP32"), (r"\buint8", "UINT8"), (r"\bint8", "INT8"), (r"\bint16", "INT16"),
    (r"\bint32", "INT32"), (r"\bint64", "INT64"), (r"\bbool", "BOOL"),
)  # fmt: skip

#: What a layer does, by words in its types and, failing those, its name. The first that is found counts.
_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"conv", "convolution"), (r"gemm|matrixmultiply|matmul|fullyconnected|linear", "fully connected"),
    (r"pool", "pooling"), (r"lrn", "normalisation"), (r"softmax", "softmax"),
    (r"reformat|noop|shuffle|cast|move|tran|reshape|quantize|copy|concat|slice|constant", "conversion"),
    (r"activation|relu|pointwise|pwn", "activation"),
)  # fmt: skip

_SEPARATORS = re.compile("[\x1e\x1f]+")  # between the parts of a fused layer's name, in TensorRT 8.6 and newer


def layers_from_inspector(text: str) -> tuple[Layer, ...]:
    """Parse the inspector's JSON; times are not in it.

    Raises:
        EngineError: It is not JSON of that form.
    """
    try:
        described = json.loads(text, strict=False)["Layers"]  # names can hold control characters
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"the engine inspector's answer cannot be read: {error}") from error
    layers = [_layer(each) for each in described]
    layers = [layer for layer in layers if layer.operator not in ("signal", "wait")]  # of streams; no work
    names = unique_names([layer.name for layer in layers])
    return tuple(replace(layer, name=name) for layer, name in zip(layers, names, strict=True))


def _layer(described: Mapping[str, Any] | str) -> Layer:
    if isinstance(described, str):
        described = {"Name": described}
    name = readable_name(described.get("Name", ""))
    operator = described.get("LayerType", "")
    inputs, outputs = _shapes(described.get("Inputs", ())), _shapes(described.get("Outputs", ()))
    kind = _kind(described, outputs)
    weights, bias = (_constant(described.get(key)) for key in ("Weights", "Bias"))
    element = weights.element or next((tensor.element for tensor in (*inputs, *outputs) if tensor.element), "")
    return Layer(
        name=name,
        kind=kind,
        operator=operator,
        precision=described.get("Precision") or element,
        inputs=inputs,
        outputs=outputs,
        weights_bytes=weights.bytes + bias.bytes,
        flops=_flops(kind, described, inputs, outputs, weights),
        tactic=described.get("TacticName") or described.get("TacticValue", ""),
        stream=described.get("StreamId", 0),
    )


def readable_name(name: str) -> str:
    """A layer's name without control characters."""
    return _SEPARATORS.sub(" + ", name).strip(" +")


def unique_names(names: Sequence[str]) -> list[str]:
    """The names in their order; the second layer of a name is ``name (2)``, both here and in the profiler's reports."""
    seen = Counter[str]()
    unique = []
    for name in map(readable_name, names):
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def _kind(described: Mapping[str, Any], outputs: Sequence[TensorShape]) -> Kind:
    """By the parameters' type if there is one, else the layer's type, else its name."""
    for text in (described.get("ParameterType", ""), described.get("LayerType", ""), described.get("Name", "")):
        for pattern, kind in _KINDS:
            if re.search(pattern, text, re.IGNORECASE):
                flat = bool(outputs) and len(outputs[0].dims) == 4 and outputs[0].dims[2:] == (1, 1)
                return "fully connected" if kind == "convolution" and flat else kind
    return "other"


def _flops(
    kind: Kind, described: Mapping[str, Any], inputs: Sequence[TensorShape], outputs: Sequence[TensorShape],
    weights: TensorShape,
) -> int:  # fmt: skip
    if not outputs or not outputs[0].elements or kind == "conversion":
        return 0
    dims, kernel = outputs[0].dims, described.get("Kernel", ())
    if kind in ("convolution", "fully connected") and weights.elements and described.get("OutMaps"):
        # Count is OutMaps * C/g * kH * kW
        return work.convolution_flops(dims, weights.elements // described["OutMaps"] // math.prod(kernel), kernel)
    if kind == "fully connected":  # its weights may be among the inputs, but they have no batch
        features = next((tensor.elements // dims[0] for tensor in inputs if tensor.dims[:1] == dims[:1]), 0)
        return work.fully_connected_flops(dims, features)
    if kind == "pooling":
        return work.pooling_flops(dims, described.get("WindowSize", ()))
    if kind == "normalisation":
        return work.normalisation_flops(dims, described.get("WindowSize", 5))
    if kind == "softmax":
        return work.softmax_flops(dims)
    return work.elementwise_flops(dims) if kind == "activation" else 0


def _shapes(tensors: Sequence[Mapping[str, Any]]) -> tuple[TensorShape, ...]:
    return tuple(TensorShape(tuple(tensor.get("Dimensions", ())), _element(str(_format(tensor)))) for tensor in tensors)


def _format(tensor: Mapping[str, Any]) -> str:
    return tensor.get("Format/Datatype") or tensor.get("Datatype") or tensor.get("Format") or ""


def _constant(described: Mapping[str, Any] | None) -> TensorShape:
    """``{"Type": "Half", "Count": 34848}``; no elements where there is none."""
    described = described or {}
    return TensorShape((int(described.get("Count", 0)),), _element(str(described.get("Type", ""))))


def _element(described: str) -> str:
    return next((element for pattern, element in _ELEMENTS if re.search(pattern, described, re.IGNORECASE)), "")
