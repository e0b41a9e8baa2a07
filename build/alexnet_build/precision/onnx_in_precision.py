"""A trained network to the ONNX file that an engine is made of, in any precision that the engine computes in.

In: a ``TrainedNetwork``, and for INT8 and FP8 pixels to calibrate on. Out: the file, and for INT8 and FP8 what was
found on the way. Called by ``engine`` and ``alexnet-build onnx``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from alexnet_build.configs import Engine
from alexnet_build.errors import EngineError, ParityError
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.precision.calibration import Method, activation_ranges
from alexnet_build.precision.int8_for_cpu import int8_for_cpu
from alexnet_build.precision.qdq_from_onnx import layers_of, qdq_from_onnx, quantisable
from alexnet_build.precision.sensitivity import AnswersKeeping, LayerError, fewest_kept, layer_errors
from alexnet_build.verify import onnxruntime_infer, simulated_infer
from alexnet_build.verify.limits import problems
from alexnet_build.verify.parity import compared
from alexnet_build.verify.views import Views
from alexnet_build.weights import TrainedNetwork

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]

#: What each engine can compute in.
PRECISIONS: dict[Engine, tuple[Precision, ...]] = {
    "tensorrt": ("fp32", "fp16", "bf16", "int8", "fp8"),
    "onnxruntime": ("fp32", "int8"),
}
QUANTISED = ("int8", "fp8")


@dataclass(frozen=True)
class Quantising:
    """How INT8 and FP8 graphs are made.

    Attributes:
        pixels: (N, S, S, 3) uint8 to calibrate on.
        held_out: (M, S, S, 3) uint8 that layers are chosen on; none of ``pixels``.
        method: How the ranges of activations are chosen.
        keep: Names of layers to leave as they are; None for the last one, and more where the precision's limits ask for
            it.
        search: Measure each layer, for minutes, where they ask for it; otherwise the graph is over the limits.
    """

    pixels: np.ndarray
    held_out: np.ndarray
    method: Method = "max"
    keep: tuple[str, ...] | None = None
    search: bool = True


@dataclass(frozen=True)
class Quantised:
    """What was found while a graph was quantised.

    Attributes:
        method: How the ranges of activations were chosen.
        calibrated_on: How many views.
        kept: Layers that were left in higher precision.
        layer_errors: What each layer alone does, largest first; empty if that was not measured.
    """

    method: Method
    calibrated_on: int
    kept: tuple[str, ...]
    layer_errors: tuple[LayerError, ...] = field(default=())


def onnx_in_precision(
    trained: TrainedNetwork, path: Path, kind: Engine, precision: Precision, quantising: Quantising | None = None
) -> Quantised | None:
    """Export, and quantise where the precision asks for it.

    Args:
        trained: The network; it is left as it is.
        path: Where the ONNX file goes.
        kind: What will run it: the two engines' INT8 differs.
        precision: One of ``PRECISIONS[kind]``.
        quantising: For INT8 and FP8.

    Raises:
        EngineError: The combination does not exist, or a step failed.
    """
    if precision not in PRECISIONS[kind]:
        raise EngineError(
            f"there is no {precision} with --engine {kind}; expected --precision {' or '.join(PRECISIONS[kind])}"
        )
    if precision == "fp32" or precision == "fp16" or precision == "bf16":
        onnx_from_network(trained, path, precision=precision)
        return None
    assert quantising is not None
    with tempfile.TemporaryDirectory() as scratch:
        exact = Path(scratch) / "fp32.onnx"
        onnx_from_network(trained, exact)
        if kind == "onnxruntime":
            return _int8_for_cpu(exact, path, quantising, trained)
        return _qdq(exact, path, precision, quantising, trained, Path(scratch))


def _int8_for_cpu(exact: Path, path: Path, quantising: Quantising, trained: TrainedNetwork) -> Quantised:
    import onnx

    if quantising.method != "max":
        # Its quantiser takes 128 bins for 128 levels, which leaves entropy nothing to choose: the ranges are max's.
        raise EngineError("ONNX Runtime quantises with --ranges max alone; entropy is for --engine tensorrt")
    nodes = {layer.name: layer.node.name for layer in layers_of(onnx.load(str(exact)))}
    views, reference = _held_out(quantising, exact)

    def answers(keep: Sequence[str]) -> np.ndarray:
        kept_nodes = [nodes[name] for name in keep]
        int8_for_cpu(exact, quantising.pixels, path, keep=kept_nodes)
        return onnxruntime_infer(path)(views.pixels)

    return _chosen(list(nodes), answers, reference, views, "int8", quantising, trained.spec.labels, [*nodes][-1])


def _qdq(
    exact: Path, path: Path, precision: Literal["int8", "fp8"], quantising: Quantising, trained: TrainedNetwork,
    scratch: Path,
) -> Quantised:  # fmt: skip
    import onnx

    half = scratch / "fp16.onnx"
    onnx_from_network(trained, half, precision="fp16")
    ranges = activation_ranges(exact, quantising.pixels, quantising.method)
    views, reference = _held_out(quantising, exact)

    def answers(keep: Sequence[str]) -> np.ndarray:
        qdq_from_onnx(half, path, precision, ranges, exact, keep=keep)
        return simulated_infer(path)(views.pixels)

    layers, classifier = quantisable(half, precision), layers_of(onnx.load(str(half)))[-1].name
    return _chosen(layers, answers, reference, views, precision, quantising, trained.spec.labels, classifier)


def _held_out(quantising: Quantising, exact: Path) -> tuple[Views, np.ndarray]:
    count = len(quantising.held_out)
    views = Views(quantising.held_out, tuple(map(str, range(count))), np.full(count, -1, np.int64))
    return views, onnxruntime_infer(exact)(quantising.held_out)


def _chosen(
    layers: Sequence[str], answers: AnswersKeeping, reference: np.ndarray, views: Views, precision: str,
    quantising: Quantising, labels: Sequence[str], classifier: str,
) -> Quantised:  # fmt: skip
    """Leave the layers that were asked for, or the fewest; the last call of ``answers`` writes the file."""

    def done(kept: tuple[str, ...], errors: tuple[LayerError, ...] = ()) -> Quantised:
        return Quantised(quantising.method, len(quantising.pixels), kept, errors)

    def accepted(keep: Sequence[str]) -> bool:
        return not problems(compared(reference, answers(keep), views, labels), precision)

    if quantising.keep is not None:
        if unknown := sorted(set(quantising.keep) - set(layers)):
            raise EngineError(f"there is no layer {', '.join(unknown)} to keep; expected some of {', '.join(layers)}")
        answers(quantising.keep)
        return done(quantising.keep)
    # The last layer does most of the harm and next to none of the work: docs/precision.md has the figures.
    last = tuple(name for name in layers if name == classifier)
    if accepted(last) or not quantising.search:
        return done(last)
    print(f"{precision} is over the limits; measuring what each layer does alone", file=sys.stderr)
    errors = layer_errors(layers, answers, reference)
    for error in errors:
        print(
            f"  {error.layer}: {error.mean_probability_difference:.1e} of the probability moves, "
            f"{error.top1_agreement:.1%} keep their first class",
            file=sys.stderr,
        )
    others = [error for error in errors if error.layer not in last]
    kept = (*last, *fewest_kept(others, lambda more: accepted((*last, *more))))
    if len(kept) == len(layers):
        raise ParityError(
            f"no layer of this network can be computed in {precision} within the limits; calibrate on photographs such "
            "as will be served (--calibration DIR), or take a higher precision: fp16 (TensorRT) or fp32"
        )
    print(f"left in higher precision: {', '.join(kept)}", file=sys.stderr)
    return done(kept, errors)
