"""Compares an engine with torch on real photographs before anybody is served by it.

In: a ``TrainedNetwork``, an engine, photographs. Out: a ``Parity`` for the manifest, or a ``ParityError``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_build.errors import DataError, ParityError
from alexnet_build.network import NetworkSpec, ServingGraph
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.tensors import PIXELS, PROBABILITIES
from alexnet_build.weights import TrainedNetwork

PHOTOGRAPHS = Path(__file__).with_name("photographs")

#: (N, S, S, 3) uint8 pixels to (N, C) float32 probabilities.
Infer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Limits:
    """What an engine may differ by.

    Attributes:
        top1_agreement: Smallest share of photographs with the same first class as torch.
        probability_difference: Largest difference of any probability.
    """

    top1_agreement: float
    probability_difference: float


#: FP32 differs by the order of additions alone. FP16 keeps 11 bits, and eight layers of sums leave errors of some
#: 1e-3 in the logits; where two classes are nearly equal, a photograph may change sides.
#: INT8 moves single probabilities far where two classes are close: on the 2,893 photographs of Caltech-101's test split
#: the demo network keeps 98.2 % of its first classes and its accuracy (82.6 % both), with single differences
#: up to 0.48. A layer that is really broken changes most first classes.
LIMITS = {"fp32": Limits(1.0, 1e-4), "fp16": Limits(0.99, 2e-2), "int8": Limits(0.93, 0.6)}


@dataclass(frozen=True)
class Parity:
    """How an engine's answers compare with torch's FP32.

    Attributes:
        photographs: How many views of photographs were compared.
        top1_agreement: Share with the same first class.
        max_probability_difference: Largest absolute difference of any probability.
        mean_probability_difference: Mean absolute difference of the probabilities.
        worst: The photograph with the largest difference.
    """

    photographs: int
    top1_agreement: float
    max_probability_difference: float
    mean_probability_difference: float
    worst: str


def photographs_in(directory: Path) -> list[Path]:
    """The photographs of a folder and its subfolders, sorted.

    Raises:
        DataError: There are none.
    """
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in suffixes)
    if not found:
        raise DataError(f"{directory} has no photographs to compare the engine on; give --photographs DIR")
    return found


def pixels_to_compare(paths: Sequence[Path], spec: NetworkSpec) -> tuple[np.ndarray, list[str]]:
    """Decode photographs as the server does, each upright, mirrored and darkened.

    Returns:
        (3 M, S, S, 3) uint8 and a name for each.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        upright = np.stack(
            list(pool.map(lambda p: pixels_from_photograph(p, spec.image_size, spec.resize_short_side), paths))
        )
    views = (upright, upright[:, :, ::-1], upright // 2)
    names = [f"{path.name}{how}" for how in ("", " mirrored", " darkened") for path in paths]
    return np.ascontiguousarray(np.concatenate(views)), names


def torch_probabilities(trained: TrainedNetwork, pixels: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """The reference: (N, C) float32 from torch in FP32 on the CPU."""
    import torch

    graph = ServingGraph(trained.network, trained.spec).eval()
    with torch.inference_mode():
        batches = [
            graph(torch.from_numpy(pixels[i : i + batch_size])).numpy() for i in range(0, len(pixels), batch_size)
        ]
    return np.concatenate(batches)


def onnxruntime_infer(onnx_file: Path) -> Infer:
    """The engine that ONNX Runtime makes of a file, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run([PROBABILITIES], {PIXELS: pixels})[0]


def parity(reference: np.ndarray, infer: Infer, pixels: np.ndarray, names: Sequence[str], max_batch: int) -> Parity:
    """Run an engine in batches of changing size and compare.

    Args:
        reference: (N, C) float32 from torch.
        infer: The engine.
        pixels: (N, S, S, 3) uint8.
        names: What each row shows.
        max_batch: Largest batch of the engine; it is used, and so is a batch of 1.
    """
    sizes = [1, max_batch]
    answers: list[np.ndarray] = []
    start = 0
    while start < len(pixels):
        size = sizes[len(answers)] if len(answers) < len(sizes) else max_batch
        answers.append(infer(pixels[start : start + size]))
        start += size
    difference = np.abs(np.concatenate(answers) - reference)
    agreed = np.concatenate(answers).argmax(1) == reference.argmax(1)
    worst = int(difference.max(1).argmax())
    return Parity(
        photographs=len(pixels),
        top1_agreement=float(agreed.mean()),
        max_probability_difference=float(difference.max()),
        mean_probability_difference=float(difference.mean()),
        worst=names[worst],
    )


def check_parity(found: Parity, precision: str) -> None:
    """Compare with the limits of a precision.

    Raises:
        ParityError: Names both sides and the worst photograph.
    """
    limits = LIMITS[precision]
    # written so that NaN fails
    agrees = found.top1_agreement >= limits.top1_agreement
    close = found.max_probability_difference <= limits.probability_difference
    if not (agrees and close):
        raise ParityError(
            f"the {precision} engine does not agree with torch on {found.photographs} photographs: top-1 agreement "
            f"{found.top1_agreement:.2%} (at least {limits.top1_agreement:.2%}), largest probability difference "
            f"{found.max_probability_difference:.2e} (at most {limits.probability_difference:.0e}), worst on "
            f"{found.worst}; nothing was published"
        )
