"""How long batches take through a session, and how many images a second that makes: the class ``Timing``.

In: a ``Session``. Out: a ``Timing`` for each batch size. Called by ``inspect_onnx``, ``inspect_plan`` and
``inspect_torch``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexnet_build.inference.session import Pending, Session

#: Inputs that take turns, so that none is answered from a cache that it is in already.
_INPUTS = 4
_WARM_UP = 3


@dataclass(frozen=True)
class Timing:
    """One batch size, measured.

    Attributes:
        batch_size: Images in a batch.
        p50_ms: Median latency of ``infer``, from pixels on the host to probabilities on the host.
        p99_ms: 99th percentile of it (nearest rank: the largest of fewer than 100 repeats).
        images_per_s: Throughput with several batches in flight, through ``submit``.
        device_ms: Median time on the GPU, copies included, kernels launched one by one; None elsewhere.
        graph_ms: The same from a CUDA graph; None where there is none of this size.
    """

    batch_size: int
    p50_ms: float
    p99_ms: float
    images_per_s: float
    device_ms: float | None = None
    graph_ms: float | None = None


def timing(session: Session, batch_size: int, repeats: int) -> Timing:
    """Measure a batch size.

    Args:
        session: The network.
        batch_size: At most the session's largest.
        repeats: Batches that are timed, each way.
    """
    inputs = random_pixels(session.image_size, batch_size)
    for index in range(_WARM_UP):
        session.infer(inputs[index % len(inputs)])
    seconds = []
    for index in range(repeats):
        started = time.perf_counter()
        session.infer(inputs[index % len(inputs)])
        seconds.append(time.perf_counter() - started)
    device_ms, graph_ms = _on_device(session, batch_size, inputs[0], repeats)
    return Timing(
        batch_size,
        p50_ms=1e3 * statistics.median(seconds),
        p99_ms=1e3 * percentile(seconds, 99),
        images_per_s=batch_size * repeats / _seconds_in_flight(session, inputs, repeats),
        device_ms=device_ms,
        graph_ms=graph_ms,
    )


def random_pixels(image_size: int, batch_size: int) -> list[np.ndarray]:
    """A few batches of (N, S, S, 3) uint8 noise; black ones would be answered faster than any photograph."""
    generator = np.random.default_rng(0)
    shape = (batch_size, image_size, image_size, 3)
    return [generator.integers(0, 256, shape, np.uint8) for _ in range(_INPUTS)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of the values do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def _seconds_in_flight(session: Session, inputs: Sequence[np.ndarray], repeats: int) -> float:
    """Time of ``repeats`` batches, as many of them in flight as the session has places."""
    started = time.perf_counter()
    pending: deque[Pending] = deque()
    for index in range(repeats):
        pending.append(session.submit(inputs[index % len(inputs)]))
        while pending and pending[0].done():
            pending.popleft().result()
    for each in pending:
        each.result()
    return time.perf_counter() - started


def _on_device(
    session: Session, batch_size: int, pixels: np.ndarray, repeats: int
) -> tuple[float | None, float | None]:
    """Median milliseconds between events on the GPU, without and with a graph."""
    engine = getattr(session, "engine", None)
    if engine is None or engine.device.type != "cuda":
        return None, None
    from alexnet_build.inference.device_session import DeviceSession

    assert isinstance(session, DeviceSession)
    medians: list[float | None] = [None, None]
    with session.borrowed_slot() as slot:
        slot.fill(pixels)
        for graphed in (False, True):
            if graphed and batch_size not in session.graph_batch_sizes:
                continue
            milliseconds = []
            for _ in range(repeats + _WARM_UP):
                slot.launch(batch_size, graphed=graphed)
                slot.wait(None)
                milliseconds.append(slot.milliseconds())
            medians[graphed] = statistics.median(milliseconds[_WARM_UP:])
    return medians[0], medians[1]
