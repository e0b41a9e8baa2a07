"""Keeps a server busy for some seconds from a process of its own and says what came back; ends by itself.

    python benchmarks/load.py grpc://127.0.0.1:8001 --jpegs FOLDER --seconds 5 --concurrency 32
    python benchmarks/load.py http://127.0.0.1:8000/classify --jpegs FOLDER --server-pid 1234

In: a folder of image files. Out: one JSON object, a ``Load``. grpc:// is this project's client; http:// posts each file
as a body, one kept-alive connection for each request under way, written by hand because every general client costs more
processor time than that. Called by serving.py as a process, so that the generator's work is nobody else's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from figures import percentile
from usage import Clock, cores_between, memory_bytes, read_clock

Send = Callable[[bytes], Awaitable[None]]
WARM_UP_S = 1.0
#: A request that takes longer has failed.
DEADLINE_S = 60


@dataclass(frozen=True)
class Load:
    """What a server did while it was kept busy.

    Attributes:
        images: images classified.
        failed: images that came back with an error.
        seconds: that were measured.
        images_per_s: images / seconds.
        p50_s: median latency of a request among the others.
        p99_s: its 99th percentile.
        server_cores: processor time of the server and all it started, per second.
        generator_cores: processor time of the load generator per second.
        other_cores: processor time of everything else on the machine per second.
        server_bytes: memory of the server and all it started, shared pages counted once.
    """

    images: int
    failed: int
    seconds: float
    images_per_s: float
    p50_s: float
    p99_s: float
    server_cores: float
    generator_cores: float
    other_cores: float
    server_bytes: int


@asynccontextmanager
async def grpc_senders(address: str, count: int) -> AsyncIterator[list[Send]]:
    """This project's asynchronous client, shared by all, as an application has one."""
    from alexnet_client import AsyncClassifier

    async with AsyncClassifier(address) as classifier:

        async def send(jpeg: bytes) -> None:
            await classifier.classify(jpeg)

        yield [send] * count


@asynccontextmanager
async def http_senders(url: str, count: int) -> AsyncIterator[list[Send]]:
    """One kept-alive HTTP/1.1 connection for each."""
    parts = urlsplit(url)
    connections = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(count)]
    try:
        yield [http_sender(reader, writer, parts.netloc, parts.path) for reader, writer in connections]
    finally:
        for _, writer in connections:
            writer.close()


def http_sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str) -> Send:
    """Return a function that posts a file over one connection and waits for the answer.

    Raises:
        ConnectionError: (the function) the status is not 200.
    """
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\nContent-Length: "

    async def send(jpeg: bytes) -> None:
        writer.write(f"{head}{len(jpeg)}\r\n\r\n".encode() + jpeg)
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        answer = await reader.readexactly(int(headers["content-length"]))
        if status.split()[1] != "200":
            raise ConnectionError(f"{status}: {answer[:200]!r}")

    return send


async def keep_busy(senders: list[Send], jpegs: list[bytes], *, seconds: float, server_pid: int | None = None) -> Load:
    """Send images, one after the other from each sender, for that time.

    What is measured begins when each sender has had an answer and the warm-up is over: with 128 requests at a slow
    server that takes seconds. Requests under way at the end do not count.
    """
    source = itertools.cycle(jpegs)
    answered = [0] * len(senders)
    finished: list[tuple[float, float]] = []  # when, and the latency
    failures: list[BaseException] = []
    stop = asyncio.Event()

    async def slot(number: int, send: Send) -> None:
        while not stop.is_set():
            begun_s = time.monotonic()
            try:
                await asyncio.wait_for(send(next(source)), DEADLINE_S)
            except Exception as error:
                failures.append(error)
                return
            ended_s = time.monotonic()
            finished.append((ended_s, ended_s - begun_s))
            answered[number] += 1

    tasks = [asyncio.create_task(slot(number, send)) for number, send in enumerate(senders)]
    warm_s = time.monotonic() + WARM_UP_S
    while not failures and (time.monotonic() < warm_s or not all(answered)):
        await asyncio.sleep(0.02)
    begun = read_clock(server_pid, time.process_time())
    while not failures and time.monotonic() < begun.wall_s + seconds:
        await asyncio.sleep(0.02)
    ended = read_clock(server_pid, time.process_time())
    server_bytes = memory_bytes(server_pid) if server_pid else 0
    stop.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise RuntimeError(f"a request failed: {failures[0]!r}")
    return load_between(begun, ended, finished, server_bytes)


def load_between(begun: Clock, ended: Clock, finished: list[tuple[float, float]], server_bytes: int) -> Load:
    """Sum up the requests that ended between two moments; ``finished`` holds the moment and the latency of each."""
    latencies = [latency_s for moment_s, latency_s in finished if begun.wall_s <= moment_s < ended.wall_s]
    cores = cores_between(begun, ended)
    seconds = ended.wall_s - begun.wall_s
    return Load(
        images=len(latencies),
        failed=0,
        seconds=seconds,
        images_per_s=len(latencies) / seconds,
        p50_s=percentile(latencies, 50),
        p99_s=percentile(latencies, 99),
        server_cores=cores.server,
        generator_cores=cores.generator,
        other_cores=cores.other,
        server_bytes=server_bytes,
    )


async def measure(url: str, jpegs: list[bytes], *, seconds: float, concurrency: int, server_pid: int | None) -> Load:
    """Keep the server at a URL busy."""
    grpc = url.startswith("grpc://")
    senders = grpc_senders(urlsplit(url).netloc, concurrency) if grpc else http_senders(url, concurrency)
    async with senders as ready:
        return await keep_busy(ready, jpegs, seconds=seconds, server_pid=server_pid)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="grpc://HOST:PORT of Triton, or http://HOST:PORT/PATH that takes the bytes")
    parser.add_argument("--jpegs", required=True, type=Path, help="folder of image files, sent in turn")
    parser.add_argument("--seconds", type=float, default=5, help="how long is measured (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once (%(default)s)")
    parser.add_argument("--server-pid", type=int, help="its processor time and memory are reported, too")
    options = parser.parse_args()
    jpegs = [path.read_bytes() for path in sorted(options.jpegs.iterdir())]
    load = asyncio.run(
        measure(
            options.url, jpegs, seconds=options.seconds, concurrency=options.concurrency, server_pid=options.server_pid
        )
    )
    print(json.dumps(asdict(load)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
