"""A lane of their own for large images, so that small ones overtake them and memory stays bounded.

In: work to be done and how many bytes it takes. Out: nothing; the work answers by itself. Called by model.py,
which does small images at once and comes here with those that would keep the others waiting.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

# mallopt(3); glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# A JPEG is decoded to a short side of less than 1,024 pixels, 4 bytes each: up to 5.6 MB of a 4:3 photograph.
OWN_MAPPING_BYTES = 8 << 20
KEPT_BYTES = 16 << 20


def return_freed_memory() -> None:
    """Have glibc give a large image's memory back to the system when it is freed, and keep a small one's.

    It would learn from the first large ones to keep such blocks, in each thread's arena as many as that thread ever
    had, and so exceed any budget. With its own threshold it would give back a small one's too, which then comes page
    by page: 203 faults for a photograph of 500x375, a sixth of its time. Other C libraries have no such call and are
    left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


class ByteBudget:
    """So many bytes may be in use at once; who wants more waits until others have given theirs back, in turn.

    Args:
        limit_bytes: what is there to share. One that needs more than all of it gets its turn alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, size_bytes: int) -> None:
        """Wait until `size_bytes` are free, or until nobody else has any, and take them."""
        turn = object()
        with self._changed:
            self._queue.append(turn)  # nobody is overtaken, or the largest would wait for ever
            self._changed.wait_for(lambda: self._queue[0] is turn and self._fits(size_bytes))
            self._queue.popleft()
            self._used_bytes += size_bytes
            self._changed.notify_all()

    def _fits(self, size_bytes: int) -> bool:
        return not self._used_bytes or self._used_bytes + size_bytes <= self._limit_bytes

    def give_back(self, size_bytes: int) -> None:
        """Let others have what was taken."""
        with self._changed:
            self._used_bytes -= size_bytes
            self._changed.notify_all()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Take the bytes for the length of a `with` block."""
        self.take(size_bytes)
        try:
            yield
        finally:
            self.give_back(size_bytes)


class LargeImages:
    """Threads that decode large images while the model goes on with small ones.

    Args:
        threads: images decoded at once, as far as their memory allows.
        decoding_bytes: memory for all images that are being decoded.
        waiting_bytes: memory for encoded images that wait; beyond it `submit` waits, and with it the model,
            so that further requests stay in Triton's own queue.
    """

    def __init__(self, threads: int, *, decoding_bytes: int, waiting_bytes: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "large-images")
        self._decoding = ByteBudget(decoding_bytes)
        self._waiting = ByteBudget(waiting_bytes)

    def submit(self, work: Callable[[], None], *, encoded_bytes: int, decoding_bytes: int) -> None:
        """Have `work` done as soon as there is a thread and memory; it must not raise.

        Args:
            work: decodes one image and answers for it.
            encoded_bytes: size of the encoded image, which is kept until then.
            decoding_bytes: what decoding it takes besides.
        """
        self._waiting.take(encoded_bytes)

        def run() -> None:
            try:
                with self._decoding.hold(decoding_bytes):
                    work()
            finally:
                self._waiting.give_back(encoded_bytes)

        self._executor.submit(run)

    def close(self) -> None:
        """Finish everything that was submitted, and end the threads."""
        self._executor.shutdown()
