"""The places of a ``DeviceSession``: buffers, a stream and CUDA graphs for one batch in flight.

In: pixels on the host. Out: probabilities on the host, later. A slot carries one batch at a time; that only one thread
touches it at a time is the session's care.

    host pixels (pinned) ─copy─> device pixels ─enqueue─> device probabilities ─copy─> host probabilities (pinned)
    └───────────────────────────── one stream, or one CUDA graph for all of it ─────────────────────────────┘
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import torch

from alexnet_build.errors import EngineError
from alexnet_build.inference.device_engine import DeviceEngine

_POLL_S = 5e-5  # between two looks at an event; an event cannot be waited for with a limit


class Slot(ABC):
    """Buffers for one batch in flight.

    Args:
        engine: What the buffers are for.
        pinned: Lock the host's buffers in memory, so that a GPU copies from and to them on its own.
    """

    def __init__(self, engine: DeviceEngine, pinned: bool) -> None:
        side, largest = engine.image_size, engine.max_batch
        self.engine = engine
        self.host_pixels = torch.empty((largest, side, side, 3), dtype=torch.uint8, pin_memory=pinned)
        self.host_probabilities = torch.empty((largest, engine.classes), pin_memory=pinned)
        self._pixels, self._probabilities = self.host_pixels.numpy(), self.host_probabilities.numpy()

    def fill(self, pixels: np.ndarray) -> None:
        """Copy (N, S, S, 3) uint8 pixels into the slot; the rows behind them keep what they have."""
        if pixels.flags.c_contiguous and pixels.flags.writeable:
            self.host_pixels[: len(pixels)].copy_(torch.from_numpy(pixels))  # on several cores
        else:
            np.copyto(self._pixels[: len(pixels)], pixels)

    def answer(self, count: int) -> np.ndarray:
        """A copy of the first (count, C) float32 probabilities."""
        return self._probabilities[:count].copy()

    @abstractmethod
    def launch(self, batch: int, *, graphed: bool) -> None:
        """Start the first ``batch`` rows; ``graphed`` replays the CUDA graph of that size, which must exist."""

    @abstractmethod
    def poison(self) -> None:
        """Fill the probabilities with NaN, so that what the next batch does not write can be seen."""

    @abstractmethod
    def done(self) -> bool:
        """Whether what was launched has finished."""

    @abstractmethod
    def wait(self, timeout_s: float | None) -> None:
        """Wait for what was launched.

        Raises:
            TimeoutError: It has not finished yet.
            EngineError: It failed.
        """

    @abstractmethod
    def milliseconds(self) -> float:
        """How long the last batch took on the device, copies included; after ``wait``."""

    @abstractmethod
    def capture(self, batch: int) -> None:
        """Record the CUDA graph of a batch size.

        Raises:
            EngineError: It cannot be recorded, or the slot is not on a GPU.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what the slot holds."""


class CudaSlot(Slot):
    """A slot on a GPU.

    Args:
        engine: The network.
        captured: Batch sizes that ``capture`` will be called with.
    """

    def __init__(self, engine: DeviceEngine, captured: Sequence[int]) -> None:
        super().__init__(engine, pinned=True)
        self.stream = torch.cuda.Stream(engine.device)
        with torch.cuda.stream(self.stream):  # memory belongs to the stream that it is used on
            self.device_pixels = torch.empty_like(self.host_pixels, device=engine.device)
            self.device_probabilities = torch.empty_like(self.host_probabilities, device=engine.device)
            self._enqueue = engine.enqueuer(captured)
        self._begun, self._finished = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        # The graphs of a slot never run at the same time, and each copies its answer out, so they share their memory.
        self._pool = torch.cuda.graph_pool_handle()

    def launch(self, batch: int, *, graphed: bool) -> None:
        """Put copy, batch and copy on the stream."""
        with torch.cuda.stream(self.stream):
            self._begun.record()
            if graphed:
                self._graphs[batch].replay()
            else:
                self._work(batch)
            self._finished.record()

    def capture(self, batch: int) -> None:
        """Record the three into one graph."""
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: other threads may go on using the GPU meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=self.stream, capture_error_mode="thread_local"):
                self._work(batch)
        except RuntimeError as error:
            raise EngineError(
                f"{self.engine.source} cannot be recorded into a CUDA graph with a batch of {batch}: {error}; "
                "open it without graphs: graph_batch_sizes=()"
            ) from error
        self._graphs[batch] = graph

    def _work(self, batch: int) -> None:
        """The three steps, on the current stream, which is this slot's."""
        pixels, probabilities = self.device_pixels[:batch], self.device_probabilities[:batch]
        pixels.copy_(self.host_pixels[:batch], non_blocking=True)
        self._enqueue.enqueue(pixels, probabilities, self.stream)
        self.host_probabilities[:batch].copy_(probabilities, non_blocking=True)

    def poison(self) -> None:
        """Fill with NaN on both sides."""
        with torch.cuda.stream(self.stream):
            self.device_probabilities.fill_(torch.nan)
            self.host_probabilities.copy_(self.device_probabilities, non_blocking=True)
        self.stream.synchronize()

    def done(self) -> bool:
        """Whether the stream has come to the end of the batch."""
        return self._finished.query()

    def wait(self, timeout_s: float | None) -> None:
        """Wait for the end of the batch, spinning, which is quicker than sleeping."""
        if timeout_s is None:
            self._finished.synchronize()
            return
        deadline = time.monotonic() + timeout_s
        while not self._finished.query():
            if time.monotonic() >= deadline:
                raise TimeoutError("the batch has not been answered yet")
            time.sleep(_POLL_S)

    def milliseconds(self) -> float:
        """By events on the stream, from the first copy's start to the last one's end."""
        return self._begun.elapsed_time(self._finished)

    def close(self) -> None:
        """Free buffers and graphs."""
        self.stream.synchronize()
        self._graphs.clear()
        del self._enqueue, self.device_pixels, self.device_probabilities


class HostSlot(Slot):
    """A slot on the CPU: a thread takes the place of the stream. There is nothing to copy to and nothing to record.

    Args:
        engine: The network.
    """

    def __init__(self, engine: DeviceEngine) -> None:
        super().__init__(engine, pinned=False)
        self._enqueue = engine.enqueuer(())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="host-slot")
        self._running: Future[None] = Future()
        self._milliseconds = 0.0

    def launch(self, batch: int, *, graphed: bool) -> None:
        """Hand the batch to the slot's thread."""
        assert not graphed
        self._running = self._thread.submit(self._work, batch)

    def capture(self, batch: int) -> None:
        """Refuse it."""
        raise EngineError("there are no CUDA graphs on a CPU")

    def _work(self, batch: int) -> None:
        started = time.perf_counter()
        self._enqueue.enqueue(self.host_pixels[:batch], self.host_probabilities[:batch], None)
        self._milliseconds = 1e3 * (time.perf_counter() - started)

    def poison(self) -> None:
        """Fill with NaN."""
        self.host_probabilities.fill_(torch.nan)

    def done(self) -> bool:
        """Whether the thread has finished the batch."""
        return self._running.done()

    def wait(self, timeout_s: float | None) -> None:
        """Wait for the thread."""
        if not wait([self._running], timeout_s).done:
            raise TimeoutError("the batch has not been answered yet")
        self._running.result()

    def milliseconds(self) -> float:
        """By the clock of the host."""
        return self._milliseconds

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)
