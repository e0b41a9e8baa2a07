"""Batches through a ring of slots: the class ``DeviceSession``, the same for TensorRT and torch.

In: a ``DeviceEngine``. Out: a ``Session``. On a GPU each slot has a stream, pinned buffers and CUDA graphs, so the
copies of one batch overlap the computing of another. On the CPU a slot has a thread instead of a stream.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.inference.device_engine import DeviceEngine
from alexnet_build.inference.selfcheck import check_slot
from alexnet_build.inference.session import Pending, Session
from alexnet_build.inference.slots import CudaSlot, HostSlot, Slot

#: Up to here a batch between two graphs' sizes is filled up to the larger one. The time of a small batch is reading the
#: weights and launching kernels, both the same for 5 images as for 8, and one launch of a graph is cheaper than a dozen
#: of kernels. Above, each image costs its time, and a batch that fits no graph is enqueued as it is.
FILL_UP_TO = 16


class DeviceSession(Session):
    """A network on a GPU, or on the CPU, with several batches in flight.

    Args:
        engine: The network.
        slots: Batches in flight at once. Two keep a GPU busy while the host fills the other buffer.
        graph_batch_sizes: Batch sizes that are recorded into CUDA graphs; None for 1, 2, 4, 8, ... and the largest,
            on a GPU. Each is checked against the engine's own answers before it is used.

    Raises:
        ValueError: Graph sizes that the engine has not, or graphs on a CPU.
        EngineError: The engine leaves answers unwritten, or its graphs answer other than it does.
    """

    def __init__(self, engine: DeviceEngine, *, slots: int = 2, graph_batch_sizes: Sequence[int] | None = None) -> None:
        self.engine = engine
        self.max_batch, self.classes, self.image_size = engine.max_batch, engine.classes, engine.image_size
        self.graph_batch_sizes = graph_batch_sizes_of(engine, graph_batch_sizes)
        with contextlib.ExitStack() as undo:  # what is made before a slot fails its check is freed
            self._slots = [_slot(engine, self.graph_batch_sizes) for _ in range(slots)]
            for slot in self._slots:
                undo.callback(slot.close)
                check_slot(slot, self.graph_batch_sizes)
            undo.pop_all()
        self._free = deque(self._slots)
        self._in_flight: deque[_InFlight] = deque()  # oldest first
        self._changed = threading.Condition()  # guards the two, and the next one
        self._closed = False

    def submit(self, pixels: np.ndarray) -> Pending:
        """Start a batch; see ``Session.submit``."""
        self._check_batch(pixels)
        pending = _InFlight(self, self._take_slot(), len(pixels))
        pending.start(pixels)
        with self._changed:
            self._in_flight.append(pending)
            self._changed.notify_all()
        return pending

    @contextlib.contextmanager
    def borrowed_slot(self) -> Iterator[Slot]:
        """A slot for the caller alone, to measure with; what is in flight goes on in the others."""
        slot = self._take_slot()
        try:
            yield slot
        finally:
            self.give_back(slot)

    def give_back(self, slot: Slot, pending: _InFlight | None = None) -> None:
        """Make a slot free again; ``pending`` is no longer in flight."""
        with self._changed:
            if pending is not None and pending in self._in_flight:
                self._in_flight.remove(pending)
            self._free.append(slot)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for what is in flight, then free the buffers and graphs; see ``Session.close``."""
        with self._changed:
            already, self._closed = self._closed, True
            self._changed.notify_all()
        if already:
            return
        for _ in self._slots:
            self._take_slot(closing=True).close()
        self._slots.clear()

    def _take_slot(self, *, closing: bool = False) -> Slot:
        """A free slot; where there is none, the one that is free first."""
        while True:
            with self._changed:
                if self._closed and not closing:
                    raise EngineError(f"the session of {self.engine.source} is closed; open another one")
                if self._free:
                    return self._free.popleft()
                if not self._in_flight:  # other threads are filling theirs
                    self._changed.wait()
                    continue
                oldest = self._in_flight.popleft()
            oldest.settle(None)


class _InFlight(Pending):
    """A batch in a slot until it is settled; then its answer, or its error."""

    def __init__(self, session: DeviceSession, slot: Slot, count: int) -> None:
        self._session = session
        self._slot: Slot | None = slot
        self._count = count
        self._settling = threading.Lock()
        self._answer: np.ndarray | None = None
        self._error: Exception | None = None

    def start(self, pixels: np.ndarray) -> None:
        """Fill the slot and launch it; what goes wrong is kept for ``result``."""
        assert self._slot is not None
        batch, graphed = rows_to_run(self._count, self._session.engine.min_batch, self._session.graph_batch_sizes)
        try:
            self._slot.fill(pixels)
            self._slot.launch(batch, graphed=graphed)
        except Exception as error:
            self._error = error

    def done(self) -> bool:
        slot = self._slot
        if slot is None or self._error is not None or slot.done():
            return True
        return self._slot is None  # settled in the meantime, and the slot another batch's

    def result(self, timeout_s: float | None = None) -> np.ndarray:
        self.settle(timeout_s)
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    def settle(self, timeout_s: float | None) -> None:
        """Wait for the batch, take its answer out of the slot, and give the slot back; raises nothing but a timeout."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if not self._settling.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0)):
            raise TimeoutError("the batch has not been answered yet")
        try:
            slot = self._slot
            if slot is None:
                return
            if self._error is None:
                try:
                    slot.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
                    self._answer = slot.answer(self._count)
                except TimeoutError:
                    raise
                except Exception as error:
                    self._error = error
            self._slot = None
            self._session.give_back(slot, self)
        finally:
            self._settling.release()


def rows_to_run(count: int, min_batch: int, graph_batch_sizes: Sequence[int]) -> tuple[int, bool]:
    """How many rows are run for a batch of ``count``, and whether a CUDA graph runs them."""
    least = max(count, min_batch)
    fitting = [size for size in graph_batch_sizes if size == least or least < size <= FILL_UP_TO]
    return (min(fitting), True) if fitting else (least, False)


def graph_batch_sizes_of(engine: DeviceEngine, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """The batch sizes to record: those that are wanted, or powers of two and the largest.

    Raises:
        ValueError: The engine does not take one of them, or is not on a GPU.
    """
    on_gpu = engine.device.type == "cuda"
    if wanted is None:
        doubled = [1 << exponent for exponent in range(engine.max_batch.bit_length())]
        sizes = {size for size in doubled if engine.min_batch <= size <= engine.max_batch} | {engine.max_batch}
        return tuple(sorted(sizes)) if on_gpu else ()
    refused = [size for size in wanted if not (on_gpu and engine.min_batch <= size <= engine.max_batch)]
    if refused:
        range_ = f"sizes from {engine.min_batch} to {engine.max_batch}" if on_gpu else "none on a CPU"
        raise ValueError(f"there can be no CUDA graph of {engine.source} for a batch of {refused}; expected {range_}")
    return tuple(sorted(set(wanted)))


def _slot(engine: DeviceEngine, captured: Sequence[int]) -> Slot:
    return CudaSlot(engine, captured) if engine.device.type == "cuda" else HostSlot(engine)
