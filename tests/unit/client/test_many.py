"""classify_many: order, bounds, failures, slow sources."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from alexnet_client import (
    AlexNetClientError,
    AsyncClassifier,
    Cancelled,
    Classifier,
    InvalidImage,
    Prediction,
    Result,
    _many,
)
from alexnet_client import _calls as calls
from alexnet_client._many import NOTHING_YET, InOrder

GIVE_UP_S = 20  # a test that hangs fails


def named(index: int) -> bytes:
    return str(index).encode()


def echo(call: calls.Infer) -> list[bytes]:
    """Label an image by its bytes; refuse those that say so."""
    if call.image_bytes.startswith(b"bad"):
        raise InvalidImage("not an image")
    return [b"1.0:0:" + call.image_bytes]


def labels_of(results: Any) -> list[str]:
    return [result.predictions[0].label for result in results]


def made(index: int) -> Result:
    return Result(f"image {index}", index, (), None, 0.0)


def test_results_come_in_the_order_of_the_images(transport: Any) -> None:
    held = threading.Event()
    finished: list[bytes] = []

    def first_is_last(call: calls.Infer) -> list[bytes]:
        if call.image_bytes == b"0":
            assert held.wait(GIVE_UP_S)
        finished.append(call.image_bytes)
        if len(finished) == 7:
            held.set()
        return echo(call)

    transport.on[calls.Infer] = first_is_last
    results = list(Classifier(transport=transport).classify_many(map(named, range(20)), concurrency=4))
    assert finished.index(b"0") >= 7
    assert labels_of(results) == [str(n) for n in range(20)]
    assert [result.index for result in results] == list(range(20))


def test_unordered_results_come_as_they_are_done(transport: Any) -> None:
    held = threading.Event()

    def first_waits(call: calls.Infer) -> list[bytes]:
        if call.image_bytes == b"0":
            assert held.wait(GIVE_UP_S)
        return echo(call)

    transport.on[calls.Infer] = first_waits
    results = Classifier(transport=transport).classify_many(map(named, range(6)), concurrency=2, ordered=False)
    first_five = [next(results) for _ in range(5)]
    assert sorted(labels_of(first_five)) == ["1", "2", "3", "4", "5"]
    held.set()
    assert labels_of(results) == ["0"]


@pytest.mark.parametrize(("ordered", "window"), [(True, 8), (False, 4)])
def test_input_is_read_only_as_far_ahead_as_the_window(transport: Any, ordered: bool, window: int) -> None:
    transport.on[calls.Infer] = echo
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    results = Classifier(transport=transport).classify_many(endless(), concurrency=4, ordered=ordered)
    for taken in range(1, 200):
        next(results)
        assert read <= taken - 1 + window
    results.close()


def test_no_more_than_concurrency_are_under_way(transport: Any) -> None:
    lock, together = threading.Lock(), threading.Barrier(3)
    under_way = most = 0

    def counted(call: calls.Infer) -> list[bytes]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(GIVE_UP_S)
        with lock:
            under_way -= 1
        return echo(call)

    transport.on[calls.Infer] = counted
    assert len(list(Classifier(transport=transport).classify_many([b"x"] * 30, concurrency=3))) == 30
    assert most == 3


def test_failed_image_is_a_result_and_the_others_go_on(transport: Any) -> None:
    transport.on[calls.Infer] = echo
    good, bad, last = Classifier(transport=transport).classify_many([b"a", b"bad", b"b"])
    assert good == Result("image 0", 0, (Prediction("a", 0, 1.0),), None, good.latency_s)
    assert (bad.image, bad.index, bad.predictions) == ("image 1", 1, ())
    assert isinstance(bad.error, InvalidImage)
    assert bad.error.message == "not an image"
    assert last.error is None


def test_raise_errors_raises_the_first_in_order(transport: Any) -> None:
    transport.on[calls.Infer] = echo
    results = Classifier(transport=transport).classify_many([b"a", b"bad", b"b"], raise_errors=True)
    assert next(results).index == 0
    with pytest.raises(InvalidImage, match="not an image"):
        next(results)


def test_fault_of_the_client_reaches_the_caller(transport: Any) -> None:
    def broken(call: Any) -> Any:
        raise ZeroDivisionError

    transport.on[calls.Infer] = broken
    with pytest.raises(ZeroDivisionError):
        list(Classifier(transport=transport).classify_many([b"a"]))


def test_error_of_the_source_reaches_the_caller(transport: Any) -> None:
    def source() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the source broke")

    with pytest.raises(LookupError, match="the source broke"):
        list(Classifier(transport=transport).classify_many(source()))


def test_no_images_give_no_results_and_no_calls(transport: Any) -> None:
    assert list(Classifier(transport=transport).classify_many([])) == []
    assert transport.sent == []


def test_result_of_a_slow_source_does_not_wait_for_its_next_image(transport: Any) -> None:
    done = threading.Event()

    def source() -> Iterator[Any]:
        yield b"a"
        while not done.is_set():
            yield NOTHING_YET
        yield b"b"

    transport.on[calls.Infer] = echo
    results = Classifier(transport=transport).classify_many(source())
    assert labels_of([next(results)]) == ["a"]
    done.set()
    assert labels_of(results) == ["b"]


def test_latency_is_the_time_of_one_image(transport: Any) -> None:
    transport.seconds_a_call = 0.25
    first, second = Classifier(transport=transport).classify_many([b"a", b"b"], concurrency=1)
    assert first.latency_s == 0.5  # reading the metadata and classifying
    assert second.latency_s == 0.25


def test_in_order_holds_early_results_back() -> None:
    order = InOrder(ordered=True)
    released = [[r.index for r in order.released_by(made(index))] for index in (2, 0, 1, 4, 3)]
    assert released == [[], [0], [1, 2], [], [3, 4]]


def test_async_results_come_in_order_from_an_async_source_with_a_failure_among_them(
    async_transport: Any,
) -> None:
    async_transport.on[calls.Infer] = echo

    async def source() -> AsyncIterator[bytes]:
        for index in range(50):
            yield b"bad" if index == 7 else named(index)

    async def run() -> list[Result]:
        classifier = AsyncClassifier(transport=async_transport)
        return [result async for result in classifier.classify_many(source(), concurrency=4)]

    results = asyncio.run(run())
    assert [result.index for result in results] == list(range(50))
    assert [result.index for result in results if result.error is not None] == [7]
    assert labels_of([results[49]]) == ["49"]


def test_async_source_is_read_only_as_far_ahead_as_the_window() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    async def classify_one(image: Any, index: int) -> Result:
        return made(index)

    async def run() -> None:
        results = _many.classify_many_async(classify_one, endless(), concurrency=4, ordered=True, raise_errors=False)
        taken = 0
        async for _ in results:
            taken += 1
            assert read <= taken - 1 + 8
            if taken == 100:
                break
        await results.aclose()

    asyncio.run(run())
    assert read >= 100


def test_async_result_of_a_slow_source_does_not_wait_for_its_next_image(async_transport: Any) -> None:
    async_transport.on[calls.Infer] = echo

    async def run() -> list[str]:
        more = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            yield b"a"
            await more.wait()
            yield b"b"

        results = AsyncClassifier(transport=async_transport).classify_many(source())
        first = await asyncio.wait_for(anext(results), GIVE_UP_S)
        more.set()
        return labels_of([first, await anext(results)])

    assert asyncio.run(run()) == ["a", "b"]


def test_async_raise_errors_raises_the_first(async_transport: Any) -> None:
    async_transport.on[calls.Infer] = echo

    async def run() -> None:
        async for _ in AsyncClassifier(transport=async_transport).classify_many([b"bad"], raise_errors=True):
            pass

    with pytest.raises(AlexNetClientError, match="not an image"):
        asyncio.run(run())


def test_async_no_more_than_concurrency_are_under_way(async_transport: Any) -> None:
    under_way = most = 0

    class Slow(type(async_transport)):  # type: ignore[misc]
        async def send(self, call: Any, timeout_s: float) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return self.on[type(call)](call)

    async def run() -> int:
        results = AsyncClassifier(transport=Slow()).classify_many([b"x"] * 30, concurrency=3)
        return len([result async for result in results])

    assert asyncio.run(run()) == 30
    assert most == 3


def test_async_results_that_are_early_wait_for_the_first(async_transport: Any) -> None:
    finished: list[bytes] = []

    async def run() -> list[str]:
        seventh = asyncio.Event()

        class FirstIsLast(type(async_transport)):  # type: ignore[misc]
            async def send(self, call: Any, timeout_s: float) -> Any:
                if isinstance(call, calls.Infer):
                    if call.image_bytes == b"0":
                        await asyncio.wait_for(seventh.wait(), GIVE_UP_S)
                    finished.append(call.image_bytes)
                    if len(finished) == 7:
                        seventh.set()
                    return echo(call)
                return await super().send(call, timeout_s)

        results = AsyncClassifier(transport=FirstIsLast()).classify_many(map(named, range(20)), concurrency=4)
        return labels_of([result async for result in results])

    assert asyncio.run(run()) == [str(n) for n in range(20)]
    assert finished.index(b"0") == 7


def test_async_faults_of_the_client_and_of_the_source_reach_the_caller(async_transport: Any) -> None:
    def broken(call: Any) -> Any:
        raise ZeroDivisionError

    def source() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the source broke")

    async def run(images: Any) -> None:
        async for _ in AsyncClassifier(transport=async_transport).classify_many(images):
            pass

    async_transport.on[calls.Infer] = echo
    with pytest.raises(LookupError, match="the source broke"):
        asyncio.run(run(source()))
    async_transport.on[calls.Infer] = broken
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run([b"a"]))


def test_async_iterator_closed_early_ends_what_is_under_way_and_the_source(async_transport: Any) -> None:
    ended: list[str] = []

    class Endless(type(async_transport)):  # type: ignore[misc]
        async def send(self, call: Any, timeout_s: float) -> Any:
            if isinstance(call, calls.Infer) and call.image_bytes == b"slow":
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("call")
            return await super().send(call, timeout_s)

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            while True:
                yield b"slow"
        finally:
            ended.append("source")

    async def run() -> int:
        results = AsyncClassifier(transport=Endless()).classify_many(source(), concurrency=2)
        first = await asyncio.wait_for(anext(results), GIVE_UP_S)
        await asyncio.sleep(0)
        await results.aclose()
        await asyncio.sleep(0)
        return first.index

    assert asyncio.run(run()) == 0
    assert "call" in ended
    assert "source" in ended


def test_async_iterator_ends_although_cancelled_calls_become_results_of_a_closed_client(async_transport: Any) -> None:
    class Closing(type(async_transport)):  # type: ignore[misc]
        async def send(self, call: Any, timeout_s: float) -> Any:
            if isinstance(call, calls.Infer) and call.image_bytes == b"slow":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise Cancelled("the client was closed") from None
            return await super().send(call, timeout_s)

    def source() -> Iterator[bytes]:
        yield b"a"
        while True:
            yield b"slow"

    async def run() -> int:
        results = AsyncClassifier(transport=Closing()).classify_many(source(), concurrency=4)
        await asyncio.wait_for(anext(results), GIVE_UP_S)
        await asyncio.wait_for(results.aclose(), GIVE_UP_S)
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_memory_does_not_grow_with_the_number_of_images(transport: Any, ordered: bool) -> None:
    transport.on[calls.Infer] = echo
    transport.sent = transport.timeouts_s = Forgetful()
    results = Classifier(transport=transport).classify_many(
        (bytes(1000) for _ in range(5000)), concurrency=4, ordered=ordered
    )
    assert held_after(results, 1000) < 200_000  # 4,000 kept images or results would be more than a megabyte


@pytest.mark.parametrize("ordered", [True, False])
def test_async_memory_does_not_grow_with_the_number_of_images(async_transport: Any, ordered: bool) -> None:
    async_transport.on[calls.Infer] = echo
    async_transport.sent = async_transport.timeouts_s = Forgetful()
    loop = asyncio.new_event_loop()
    results = AsyncClassifier(transport=async_transport).classify_many(
        (bytes(1000) for _ in range(5000)), concurrency=4, ordered=ordered
    )

    def one_by_one() -> Iterator[Result]:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield loop.run_until_complete(anext(results))

    assert held_after(one_by_one(), 1000) < 200_000
    loop.close()


class Forgetful(list[Any]):
    """A list that keeps nothing."""

    def append(self, item: Any) -> None:
        pass


def held_after(results: Iterator[Result], warm_up: int) -> int:
    """Bytes that Python holds more after all results than after the first ``warm_up``."""
    for _ in itertools.islice(results, warm_up):
        pass
    tracemalloc.start()
    try:
        for _ in results:
            pass
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
