"""Several batches under way on one GPU: while one is decoded, another's files are read and a third one is answered.

In: work that wants a GPU path. Out: what became of it, later. Called by model.py. Lanes of one process share
a GPU better than as many processes do, which the GPU serves in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from .gpu_preprocessing import GpuPreprocessor
from .jpeg_header import JpegHeader

Outcome = TypeVar("Outcome")


class GpuLanes:
    """GPU paths, each for one batch at a time, and a thread for each.

    Args:
        gpus: each with a device of its own; all with the same sizes.
    """

    def __init__(self, gpus: Sequence[GpuPreprocessor]) -> None:
        self._executor = ThreadPoolExecutor(len(gpus), "gpu")
        self._reader = gpus[0]
        self._free: SimpleQueue[GpuPreprocessor] = SimpleQueue()
        for gpu in gpus:
            self._free.put(gpu)

    def header(self, image_bytes: bytes) -> JpegHeader | None:
        """Read the header of an image that the GPU decodes; None for one that is the CPU's."""
        return self._reader.header(image_bytes)

    def submit(self, work: Callable[[GpuPreprocessor], Outcome]) -> Future[Outcome]:
        """Wait for a free GPU path and have `work` done with it by a thread.

        What is not taken from Triton's queue meanwhile makes larger batches, and takes no memory here.
        """
        gpu = self._free.get()

        def run() -> Outcome:
            try:
                return work(gpu)
            finally:
                self._free.put(gpu)

        return self._executor.submit(run)

    def close(self) -> None:
        """Finish everything that was submitted, and end the threads."""
        self._executor.shutdown()
