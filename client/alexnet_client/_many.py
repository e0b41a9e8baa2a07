"""Many images through one client: pipelined, bounded, in order, one failure at a time.

In: any iterable of images (or an async one) and a function that classifies one of them. Out: an iterator of
results. At most ``concurrency`` images are under way and at most twice as many results are held back to keep
the order, so memory does not grow with the number of images. Called by: both classifiers.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from ._images import ImageInput
from ._predictions import EmbeddingResult, Result

# An iterable may give this instead of an image while its next image is not there yet: results that are ready
# are then handed out at once, not with the next image. For sources that trickle, such as paths from a pipe.
NOTHING_YET: Final = object()

Item = TypeVar("Item")
ResultT = TypeVar("ResultT", Result, EmbeddingResult)


class InOrder(Generic[ResultT]):
    """Holds results back until their turn; with ``ordered=False`` it holds nothing."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._next = 0
        self._early: dict[int, ResultT] = {}

    def released_by(self, result: ResultT) -> Iterator[ResultT]:
        """Those that may go now that ``result`` is there."""
        if not self._ordered:
            yield result
            return
        self._early[result.index] = result
        while self._next in self._early:
            self._next += 1
            yield self._early.pop(self._next - 1)


def unless_failed(result: ResultT, raise_errors: bool) -> ResultT:
    """``result``; or, when asked for, its error is raised."""
    if raise_errors and result.error is not None:
        raise result.error
    return result


def window_of(concurrency: int, ordered: bool) -> int:
    """How many images may be taken in and not yet handed out.

    In order it is more than ``concurrency``, so that one slow image does not leave the other slots idle.
    """
    return 2 * concurrency if ordered else concurrency


def classify_many(
    classify_one: Callable[[ImageInput, int], ResultT],
    images: Iterable[ImageInput],
    *,
    concurrency: int,
    ordered: bool,
    raise_errors: bool,
) -> Generator[ResultT, None, None]:
    """Results of ``images``, which is read in the caller's thread, as far ahead as the window allows.

    When the iterator is closed early, images that were not begun are dropped.
    """
    done: queue.SimpleQueue[ResultT | BaseException] = queue.SimpleQueue()
    order: InOrder[ResultT] = InOrder(ordered)
    window, out = window_of(concurrency, ordered), 0

    def work(image: ImageInput, index: int) -> None:
        try:
            done.put(classify_one(image, index))
        except BaseException as error:  # a fault of ours: it must reach the caller, not end in a thread
            done.put(error)

    def released(block: bool) -> Iterator[ResultT]:
        try:
            result = done.get(block)
            while True:
                if isinstance(result, BaseException):
                    raise result
                yield from (unless_failed(r, raise_errors) for r in order.released_by(result))
                result = done.get(block=False)
        except queue.Empty:
            return

    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="alexnet-client")
    try:
        index = 0
        for image in images:
            if image is not NOTHING_YET:
                # the caller's context goes along: a trace that it is part of is in there
                pool.submit(contextvars.copy_context().run, work, image, index)
                index, out = index + 1, out + 1
            block = out >= window
            while True:
                for result in released(block):
                    out -= 1
                    yield result
                if not block or out < window:
                    break
        while out:
            for result in released(block=True):
                out -= 1
                yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def classify_many_async(
    classify_one: Callable[[ImageInput, int], Awaitable[ResultT]],
    images: Iterable[ImageInput] | AsyncIterable[ImageInput],
    *,
    concurrency: int,
    ordered: bool,
    raise_errors: bool,
) -> AsyncGenerator[ResultT, None]:
    """The same in an event loop: ``concurrency`` tasks take the next image as soon as they are free.

    Results that are ready are handed out while the next image is waited for.
    """
    order: InOrder[ResultT] = InOrder(ordered)
    room = asyncio.Semaphore(window_of(concurrency, ordered))
    source, reading = _enumerated(images), asyncio.Lock()
    done: asyncio.Queue[ResultT | BaseException] = asyncio.Queue()
    ended = False  # a worker whose cancellation became a result, for the client was closed, must not go on

    async def work() -> None:
        try:
            while not ended:
                await room.acquire()
                async with reading:  # an asynchronous source gives one image at a time
                    image, index = await anext(source)
                done.put_nowait(await classify_one(image, index))
        except BaseException as error:  # the end of the source, or a fault: the caller decides
            done.put_nowait(error)

    workers = [asyncio.ensure_future(work()) for _ in range(concurrency)]
    try:
        working = len(workers)
        while working:
            result = await done.get()
            if isinstance(result, StopAsyncIteration):
                working -= 1
                room.release()  # for a worker that still waits to see the end
            elif isinstance(result, BaseException):
                raise result
            else:
                for released in order.released_by(result):
                    yield unless_failed(released, raise_errors)
                    room.release()
    finally:
        ended = True
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await source.aclose()


async def _enumerated(
    images: Iterable[Item] | AsyncIterable[Item],
) -> AsyncGenerator[tuple[Item, int], None]:
    """Every image with its position; ``images`` is read when the next one is asked for."""
    index = 0
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image, index
            index += 1
    else:
        for image in images:
            yield image, index
            index += 1
