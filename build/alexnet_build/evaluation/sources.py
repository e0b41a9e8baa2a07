"""Ways to a network's answers: torch, ONNX Runtime on the CPU, and (in ``server``) a live server.

In: photographs. Out: ``Answers`` with (M, C) float32 probabilities. Photographs are streamed in batches, so memory
grows with the answers and not with the pixels. Called by ``alexnet-build evaluate``.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_build.errors import DataError, EngineError
from alexnet_build.network import NetworkSpec, ServingGraph
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.tensors import PIXELS, PROBABILITIES
from alexnet_build.verify import Infer
from alexnet_build.weights import SPEC_KEY, TrainedNetwork

BATCH_SIZE = 32  # 5 MB of pixels; larger ones gain nothing on a CPU

#: Called with the number of photographs that were answered since the last call.
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Source:
    """Something that answers photographs with probabilities.

    Attributes:
        name: ``torch``, ``onnx`` or ``server``.
        origin: The weights, file or address that it was made from.
        labels: C names in the order of its probabilities.
        probabilities: M paths and an ``Advance`` to (M, C) float32; raises ``DataError`` naming every photograph
            that cannot be read.
    """

    name: str
    origin: str
    labels: tuple[str, ...]
    probabilities: Callable[[Sequence[Path], Advance], np.ndarray]


@dataclass(frozen=True)
class Answers:
    """What a source said of M photographs, in their order.

    Attributes:
        source: Who answered.
        probabilities: (M, C) float32, rows sum to 1.
        seconds: Wall time, decoding included.
    """

    source: Source
    probabilities: np.ndarray
    seconds: float


def answers_from_source(source: Source, paths: Sequence[Path], advance: Advance = lambda count: None) -> Answers:
    """Ask a source, and take the time.

    Raises:
        DataError: Photographs cannot be read; all of them are named.
        EngineError: The source failed.
    """
    started = time.perf_counter()
    probabilities = source.probabilities(paths, advance)
    return Answers(source, probabilities, time.perf_counter() - started)


def torch_source(trained: TrainedNetwork, origin: str) -> Source:
    """The graph that would be exported, in torch and FP32, on the GPU if there is one."""
    import torch

    from alexnet_build.training.evaluate import exact_fp32

    device = "cuda" if torch.cuda.is_available() else "cpu"
    graph = ServingGraph(copy.deepcopy(trained.network), trained.spec).eval().to(device)

    def infer(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), exact_fp32():
            return graph(torch.from_numpy(pixels).to(device)).cpu().numpy()

    return _source_from_infer("torch", origin, trained.spec, infer)


def onnx_source(onnx_file: Path) -> Source:
    """An ONNX file, run by ONNX Runtime on the CPU; labels and sizes come from the file itself.

    Raises:
        EngineError: ONNX Runtime cannot load it, or it does not describe itself.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise EngineError(f"ONNX Runtime cannot load {onnx_file}: {error}") from error
    spec = spec_from_metadata(session.get_modelmeta().custom_metadata_map, onnx_file)
    return _source_from_infer(
        "onnx", str(onnx_file), spec, lambda pixels: session.run([PROBABILITIES], {PIXELS: pixels})[0]
    )


def spec_from_metadata(metadata: Mapping[str, str], onnx_file: Path) -> NetworkSpec:
    """What ``onnx_from_network`` wrote into an ONNX file's metadata.

    Raises:
        EngineError: It is not there, or not readable.
    """
    again = "export it again with: alexnet-build onnx --weights WEIGHTS --output FILE"
    if SPEC_KEY not in metadata:
        raise EngineError(f"{onnx_file} does not say what its classes are (no {SPEC_KEY} in its metadata); {again}")
    try:
        return NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY]))
    except (ValueError, TypeError, KeyError) as error:
        raise EngineError(f"{onnx_file} describes itself in a way that cannot be read: {error}; {again}") from error


def _source_from_infer(name: str, origin: str, spec: NetworkSpec, infer: Infer) -> Source:
    def probabilities(paths: Sequence[Path], advance: Advance) -> np.ndarray:
        rows = np.empty((len(paths), spec.classes), np.float32)
        start = 0
        for pixels in _pixel_batches(paths, spec):
            rows[start : start + len(pixels)] = infer(pixels)
            start += len(pixels)
            advance(len(pixels))
        return rows

    return Source(name, origin, spec.labels, probabilities)


def _pixel_batches(paths: Sequence[Path], spec: NetworkSpec) -> Iterator[np.ndarray]:
    """Decode as the server does, on all cores and one batch ahead: (N, S, S, 3) uint8, N at most ``BATCH_SIZE``.

    From the first broken photograph on, the rest is decoded only to name every broken one.
    """

    def attempt(path: Path) -> np.ndarray | str:
        try:
            return pixels_from_photograph(path, spec.image_size, spec.resize_short_side)
        except (OSError, ValueError) as error:
            return f"{path}: {error}"

    broken: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases the interpreter lock

        def submitted(start: int) -> list[Future[np.ndarray | str]]:
            return [pool.submit(attempt, path) for path in paths[start : start + BATCH_SIZE]]

        ahead = submitted(0)
        for start in range(0, len(paths), BATCH_SIZE):
            decoded = [future.result() for future in ahead]
            ahead = submitted(start + BATCH_SIZE)
            pixels = [item for item in decoded if isinstance(item, np.ndarray)]
            broken += [item for item in decoded if isinstance(item, str)]
            if not broken:
                yield np.stack(pixels)
    raise_if_broken(broken, len(paths))


def raise_if_broken(broken: Sequence[str], count: int) -> None:
    """Name every photograph, of ``count``, that could not be read.

    Raises:
        DataError: There are any.
    """
    if broken:
        listed = "\n  ".join(broken)
        raise DataError(f"{len(broken)} of {count} photographs cannot be read; mend or delete them:\n  {listed}")
