"""FastAPI with ONNX Runtime: one image a request, the usual service that people write first.

    PEER_NETWORK=model.onnx PEER_THREADS=1 uvicorn --app-dir benchmarks/peers fastapi_server:app --workers 2

In: POST /classify with the JPEG as the body. Out: JSON. Each worker process has a session of its own; the work runs in
the thread pool, as FastAPI's documentation asks for work that blocks, or with PEER_INLINE=1 in the event loop, which
spares the hand-over where there is a worker for each core.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from photographs import Network

app = FastAPI()
network = Network()
inline = os.environ.get("PEER_INLINE") == "1"


def classify_jpeg(jpeg: bytes) -> dict[str, int | float]:
    """Decode and classify one image."""
    return network.answers([network.pixels(jpeg)])[0]


@app.post("/classify")
async def classify(request: Request) -> dict[str, int | float]:
    """Answer one request."""
    jpeg = await request.body()
    return classify_jpeg(jpeg) if inline else await run_in_threadpool(classify_jpeg, jpeg)
