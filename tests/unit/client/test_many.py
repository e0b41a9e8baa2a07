"""classify_many: order, bounds, failures, slow sources."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from alexnet_client import (
    AlexNetClientError,
    AsyncClassifier,
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
