"""A server whose queue is full: its clients slow down and finish, and a deadline is a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alexnet_client import AsyncClassifier, Classifier, DeadlineExceeded, Result
from alexnet_server import running_server

BOUNDED = "default_queue_policy { max_queue_size: 4 }"
IMAGES = 200


@pytest.fixture(scope="module")
def narrow(counting_repository: Callable[..., Path]) -> Iterator[Any]:
    """A server that computes four images in 10 ms, lets four more wait, and refuses the others."""
    with running_server(counting_repository(BOUNDED, seconds=0.01, max_batch=4)) as server:
        yield server


@pytest.fixture(scope="module")
def slow(counting_repository: Callable[..., Path]) -> Iterator[Any]:
    """A server that computes one image in 0.4 s, lets one wait, and refuses the others."""
    batching = "default_queue_policy { max_queue_size: 1 }"
    with running_server(counting_repository(batching, seconds=0.4, max_batch=1)) as server:
        yield server


def numbers() -> list[bytes]:
    return [str(index).encode() for index in range(IMAGES)]


def test_more_images_under_way_than_the_server_takes_are_all_classified(narrow: Any) -> None:
    with Classifier(narrow.grpc_url) as classifier:
        results = list(classifier.classify_many(numbers(), top_k=1, concurrency=32))
        assert_all_right(results)
        assert classifier._state.traffic.admission.limit < 32


def test_more_images_under_way_than_the_server_takes_are_all_classified_in_an_event_loop(narrow: Any) -> None:
    async def run() -> list[Result]:
        async with AsyncClassifier(narrow.grpc_url) as classifier:
            results = [r async for r in classifier.classify_many(numbers(), top_k=1, concurrency=32)]
            assert classifier._state.traffic.admission.limit < 32
            return results

    assert_all_right(asyncio.run(run()))


def test_short_deadline_is_kept_while_others_fill_the_queue(slow: Any) -> None:
    with Classifier(slow.grpc_url, deadline_s=60) as classifier, ThreadPoolExecutor(16) as pool:
        classifier.classify(b"0")
        others = [pool.submit(classifier.classify, b"1") for _ in range(16)]
        for deadline_s in (1.0, 2.0):
            started_s = time.monotonic()
            with pytest.raises(DeadlineExceeded, match=f"within {deadline_s:.3g} s"):
                classifier.classify(b"2", deadline_s=deadline_s)
            assert deadline_s <= time.monotonic() - started_s <= 1.1 * deadline_s
        assert [other.result()[0].index for other in others] == [1] * 16


def assert_all_right(results: list[Result]) -> None:
    assert [result.error for result in results if result.error] == []
    assert [result.predictions[0].index for result in results] == list(range(IMAGES))
