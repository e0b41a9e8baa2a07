"""One layer as an engine runs it, at one batch size: the class ``Layer``.

Made by ``onnx_layers``, ``plan_layers`` and ``torch_layers``; read by the report and the pictures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "convolution", "fully connected", "pooling", "normalisation", "activation", "softmax", "conversion", "other"
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Bytes of one element.
ELEMENT_BYTES = {
    "FP64": 8, "FP32": 4, "TF32": 4, "FP16": 2, "BF16": 2, "FP8": 1, "INT64": 8, "INT32": 4, "INT16": 2, "INT8": 1,
    "UINT8": 1, "BOOL": 1,
}  # fmt: skip

_SHORT: dict[Kind, str] = {
    "convolution": "conv", "fully connected": "fc", "pooling": "pool", "normalisation": "norm", "activation": "relu",
    "softmax": "softmax", "conversion": "convert", "other": "other",
}  # fmt: skip


@dataclass(frozen=True)
class TensorShape:
    """Sizes and type of a tensor.

    Attributes:
        dims: Sizes, the batch first.
        element: ``FP32``, ``INT8``, ...; empty where it is not known.
    """

    dims: tuple[int, ...]
    element: str

    @property
    def elements(self) -> int:
        """Number of elements; 0 where a size is not known, which engines write as -1."""
        return math.prod(self.dims) if min(self.dims, default=0) >= 0 else 0

    @property
    def bytes(self) -> int:
        """Size in memory; 0 where the type is not known."""
        return self.elements * ELEMENT_BYTES.get(self.element, 0)


@dataclass(frozen=True)
class Layer:
    """A layer of an engine, after whatever fusion the engine does.

    Attributes:
        name: The engine's own name for it.
        kind: What it does.
        operator: The engine's word for that: ``FusedConv``, ``CaskConvolution``, ``conv2d``.
        precision: What it computes in; empty where the engine does not say.
        inputs: Activations that it reads.
        outputs: Activations that it writes.
        weights_bytes: Size of its weights and biases; 0 for none.
        flops: Floating-point (or integer) operations for this batch, a multiply-add counting as two; see ``work``.
        milliseconds: Median time; None where it was not measured.
        tactic: The kernel, where the engine says.
        stream: The stream of the engine's own that it runs on.
    """

    name: str
    kind: Kind
    operator: str
    precision: str
    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    weights_bytes: int
    flops: int
    milliseconds: float | None = None
    tactic: str = ""
    stream: int = 0

    @property
    def moved_bytes(self) -> int:
        """The least that has to cross the memory bus: each input and weight read once, each output written once."""
        return sum(tensor.bytes for tensor in (*self.inputs, *self.outputs)) + self.weights_bytes

    @property
    def intensity(self) -> float | None:
        """Operations a byte; None for a layer that does none, or whose sizes are not known."""
        return self.flops / self.moved_bytes if self.flops and self.moved_bytes else None

    @property
    def flops_per_s(self) -> float | None:
        """Operations a second, attained; None for a layer that does none or was not measured."""
        return 1e3 * self.flops / self.milliseconds if self.flops and self.milliseconds else None

    @property
    def bytes_per_s(self) -> float | None:
        """Bytes a second, attained; None for a layer that was not measured."""
        return 1e3 * self.moved_bytes / self.milliseconds if self.moved_bytes and self.milliseconds else None


def short_names(layers: Sequence[Layer]) -> list[str]:
    """Names for people, in the order of execution, each once.

    Convolutions and fully connected layers are counted through, as the paper counts them (conv1 to conv5, fc6 to fc8);
    other layers take the number of the one before them: pool2 follows conv2.
    """
    names, seen = [], Counter[str]()
    number = 0
    for layer in layers:
        number += layer.kind in ("convolution", "fully connected")
        name = _SHORT[layer.kind] + ("" if layer.kind == "softmax" else str(number))
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return names
