"""BentoML with adaptive batching, in the two services that its documentation shows for requests of one item each.

    PEER_NETWORK=model.onnx PEER_THREADS=2 bentoml serve bentoml_service:Front --working-dir benchmarks/peers

In: POST /classify with the JPEG as the body. Out: JSON. The front takes requests; the workers behind it decode and
classify whole batches.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import bentoml
from photographs import Network

WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
MAX_BATCH = int(os.environ.get("PEER_MAX_BATCH", "32"))
MAX_LATENCY_MS = 60_000  # of a request in the queue; longer ones are refused, which is not what is measured
SETTINGS: dict[str, Any] = {
    "traffic": {"timeout": 120, "max_concurrency": 1024},
    "logging": {"access": {"enabled": False}},
}
#: A kept-alive connection between two services may be closed under a request (BentoML's issue 4971), which then fails.
ATTEMPTS = 3


@bentoml.service(workers=WORKERS, **SETTINGS)
class Batches:
    """Decodes and classifies batches."""

    def __init__(self) -> None:
        self.network = Network()
        self.decoders = ThreadPoolExecutor(int(os.environ["PEER_THREADS"]))

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
    def classify(self, jpegs: list[bytes]) -> list[dict[str, Any]]:
        """Answer a batch."""
        return self.network.answers(list(self.decoders.map(self.network.pixels, jpegs)))


@bentoml.service(**SETTINGS)
class Front:
    """Takes one image a request."""

    batches = bentoml.depends(Batches)

    @bentoml.api
    async def classify(self, jpeg: bytes, /) -> dict[str, Any]:
        """Answer one request."""
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(aiohttp.ClientConnectionError):
                return (await self.batches.to_async.classify([jpeg]))[0]
        return (await self.batches.to_async.classify([jpeg]))[0]
