"""The operations of a network in torch, each timed: what eager torch runs, one after the other, without fusion.

In: the graph that ONNX files are exported from, and pixels on its device. Out: ``Layer``s. Called by ``inspect_torch``.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from alexnet_build.insight import work
from alexnet_build.insight.layers import Kind, Layer, TensorShape

_ELEMENTS = {
    torch.float32: "FP32", torch.float16: "FP16", torch.bfloat16: "BF16", torch.uint8: "UINT8", torch.int8: "INT8",
    torch.int32: "INT32", torch.int64: "INT64", torch.bool: "BOOL",
}  # fmt: skip

#: What an operation does, by words in its name; the first that is found counts.
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("conv", "convolution"), ("linear", "fully connected"), ("pool", "pooling"), ("norm", "normalisation"),
    ("softmax", "softmax"), ("relu", "activation"),
    ("permute|flatten|^(float|half|to)$|dropout|identity", "conversion"),
)  # fmt: skip


#: About 15 ms at 2 GHz; the host launches a run in one or two.
_HOLD_CYCLES = 30_000_000


def timed_layers(graph: nn.Module, batches: Sequence[Tensor], repeats: int) -> tuple[Layer, ...]:
    """Run a graph operation by operation.

    Args:
        graph: (N, S, S, 3) uint8 to (N, C) float32, in eval mode; it must be traceable by ``torch.fx``.
        batches: Pixels of one shape on the graph's device, which take turns.
        repeats: Runs that are timed, after two that are not.
    """
    interpreter = _Timed(fx.symbolic_trace(graph), batches[0].device)
    with torch.inference_mode():
        for index in range(repeats + 2):
            if index == 2:
                interpreter.times.clear()
            interpreter.hold_gpu()
            interpreter.run(batches[index % len(batches)])
            interpreter.read_clocks()
    return tuple(_layer(interpreter, node) for node in interpreter.times)


class _Timed(fx.Interpreter):
    """Times every call: by the clock on the CPU, by events between the kernels on a GPU."""

    def __init__(self, module: fx.GraphModule, device: torch.device) -> None:
        super().__init__(module)
        self._on_gpu = device.type == "cuda"
        self.times: dict[fx.Node, list[float]] = {}  # milliseconds
        self.shapes: dict[fx.Node, tuple[tuple[TensorShape, ...], tuple[TensorShape, ...]]] = {}
        self._events: list[tuple[fx.Node, torch.cuda.Event, torch.cuda.Event]] = []

    def run_node(self, n: fx.Node) -> Any:
        if n.op not in ("call_module", "call_function", "call_method"):
            return super().run_node(n)
        result, milliseconds = self._run_on_gpu(n) if self._on_gpu else self._run_on_cpu(n)
        if not isinstance(result, Tensor):
            return result
        read = [self.env[each] for each in n.all_input_nodes if isinstance(self.env.get(each), Tensor)]
        self.shapes[n] = (tuple(map(_shape, read)), (_shape(result),))
        self.times.setdefault(n, []).extend(milliseconds)
        return result

    def hold_gpu(self) -> None:
        """Let the GPU wait while the host launches a run; else events would time the host's launching."""
        if self._on_gpu:
            torch.cuda._sleep(_HOLD_CYCLES)

    def read_clocks(self) -> None:
        """Wait for the GPU, and take the times of the run that has just been launched."""
        if self._events:
            torch.cuda.synchronize()
        for node, begun, ended in self._events:
            if node in self.times:
                self.times[node].append(begun.elapsed_time(ended))
        self._events.clear()

    def _run_on_gpu(self, n: fx.Node) -> tuple[Any, list[float]]:
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        result = super().run_node(n)
        ended.record()
        self._events.append((n, begun, ended))
        return result, []

    def _run_on_cpu(self, n: fx.Node) -> tuple[Any, list[float]]:
        started = time.perf_counter()
        result = super().run_node(n)
        return result, [1e3 * (time.perf_counter() - started)]


def _layer(interpreter: _Timed, node: fx.Node) -> Layer:
    inputs, outputs = interpreter.shapes[node]
    module = interpreter.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    operator = type(module).__name__ if module is not None else getattr(node.target, "__name__", str(node.target))
    kind: Kind = next((kind for words, kind in _KINDS if re.search(words, operator.lower())), "other")
    parameters = [] if module is None else list(module.parameters())
    return Layer(
        name=node.name,  # a module may be called twice, but a node has a name of its own
        kind=kind,
        operator=operator,
        precision=outputs[0].element,
        inputs=inputs,
        outputs=outputs,
        weights_bytes=sum(parameter.nbytes for parameter in parameters),
        flops=_flops(kind, module, outputs[0].dims),
        milliseconds=statistics.median(interpreter.times[node]),
    )


def _flops(kind: Kind, module: nn.Module | None, output: Sequence[int]) -> int:
    if isinstance(module, nn.Conv2d):
        return work.convolution_flops(output, module.weight.shape[1], module.weight.shape[2:])
    if isinstance(module, nn.Linear):
        return work.fully_connected_flops(output, module.in_features)
    if isinstance(module, nn.MaxPool2d):
        window = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * 2
        return work.pooling_flops(output, window)
    if isinstance(module, nn.LocalResponseNorm):
        return work.normalisation_flops(output, module.size)
    if kind == "softmax":
        return work.softmax_flops(output)
    return 0 if kind == "conversion" else work.elementwise_flops(output)


def _shape(tensor: Tensor) -> TensorShape:
    return TensorShape(tuple(tensor.shape), _ELEMENTS.get(tensor.dtype, ""))
