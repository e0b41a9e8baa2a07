"""Shared memory with a real Triton Inference Server: the same answers, and nothing left behind on either side."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from alexnet_client import AsyncClassifier, Classifier, InvalidImage
from tritonclient import grpc


def registered(server: Any) -> list[str]:
    status = grpc.InferenceServerClient(server.grpc_url).get_system_shared_memory_status()
    return [name for name in status.regions if name.startswith(f"alexnet_client_{os.getpid()}_")]


def left_behind() -> list[Path]:
    return list(Path("/dev/shm").glob(f"alexnet_client_{os.getpid()}_*"))


def test_answers_are_those_of_the_plain_way(server: Any, photographs: list[Path]) -> None:
    images = [*photographs, b"no image", photographs[0].read_bytes() + bytes(5_000_000)]
    with Classifier(server.grpc_url) as plain, Classifier(server.grpc_url, shared_memory=True) as shared:
        expected = list(plain.classify_many(images, concurrency=4))
        found = list(shared.classify_many(images, concurrency=4))
        assert [result.predictions for result in found] == [result.predictions for result in expected]
        assert isinstance(found[len(photographs)].error, InvalidImage)
        assert shared.status().fault is None
        assert 1 <= len(registered(server)) <= 4
        assert left_behind() == []
    assert registered(server) == []


def test_async_client_shares_memory_and_lets_it_go(server: Any, photographs: list[Path]) -> None:
    async def classify() -> list[str]:
        async with AsyncClassifier(server.grpc_url, shared_memory=True) as classifier:
            results = [result async for result in classifier.classify_many(photographs * 3, concurrency=3)]
            assert len(registered(server)) == 3
            return [result.predictions[0].label for result in results]

    labels = asyncio.run(classify())
    with Classifier(server.grpc_url) as plain:
        assert labels == [plain.classify(path)[0].label for path in photographs] * 3
    assert registered(server) == []


def test_region_that_the_server_forgot_is_registered_again(server: Any, photographs: list[Path]) -> None:
    with Classifier(server.grpc_url, shared_memory=True) as classifier:
        before = classifier.classify(photographs[0])
        grpc.InferenceServerClient(server.grpc_url).unregister_system_shared_memory()
        assert registered(server) == []
        assert classifier.classify(photographs[0]) == before
        assert len(registered(server)) == 1
