"""Memory of the client while many images go through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from alexnet_client import AsyncClassifier, Classifier
from alexnet_server import running_server

IMAGES, WARM_UP = 10_000, 1000
MOST_BYTES = 5 << 20  # of 9,000 kept images or results: one of 1 kB each would be 9 MB


@pytest.fixture(scope="module")
def counting(counting_repository: Callable[..., Path]) -> Iterator[Any]:
    with running_server(counting_repository()) as server:
        yield server


def images() -> Iterator[bytes]:
    for index in range(IMAGES):
        yield b"%01000d" % index  # a number of a thousand digits, most of them zeros


def resident() -> int:
    return psutil.Process().memory_info().rss


def test_resident_memory_does_not_grow_with_the_number_of_images(counting: Any) -> None:
    before = 0
    with Classifier(counting.grpc_url) as classifier:
        for result in classifier.classify_many(images(), top_k=1, raise_errors=True):
            assert result.predictions[0].index == result.index % 1000
            if result.index == WARM_UP:
                before = resident()
    assert resident() - before < MOST_BYTES


def test_resident_memory_does_not_grow_with_the_number_of_images_in_an_event_loop(counting: Any) -> None:
    async def run() -> int:
        before = 0
        async with AsyncClassifier(counting.grpc_url) as classifier:
            async for result in classifier.classify_many(images(), top_k=1, raise_errors=True):
                assert result.predictions[0].index == result.index % 1000
                if result.index == WARM_UP:
                    before = resident()
        return resident() - before

    assert asyncio.run(run()) < MOST_BYTES
