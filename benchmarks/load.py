"""Keeps a server busy for some seconds from a process of its own and says what came back; ends by itself.

    python benchmarks/load.py --url 127.0.0.1:8001 --jpegs FOLDER --seconds 5 --concurrency 32

In: a folder of image files. Out: one JSON object, a ``Load``. Called by throughput.py, as a process, so that
the generator's work is nobody else's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from alexnet_client import AsyncClassifier
from figures import percentile


@dataclass(frozen=True)
class Load:
    """What a server did while it was kept busy.

    Attributes:
        images: images classified.
        failed: images that came back with an error.
        seconds: from the end of the warm-up to the last image counted.
        images_per_s: images / seconds.
        p50_s: median latency of a request among ``concurrency`` others.
        p99_s: its 99th percentile.
        generator_cores: processor time of this process per second.
        server_cores: processor time of the server and its models per second.
        other_cores: processor time of everything else on the machine per second.
    """

    images: int
    failed: int
    seconds: float
    images_per_s: float
    p50_s: float
    p99_s: float
    generator_cores: float
    server_cores: float
    other_cores: float


@dataclass(frozen=True)
class Clock:
    """The wall's and the processes' clocks at one moment, in seconds."""

    wall_s: float
    generator_s: float
    server_s: float
    machine_s: float


def read_clock(server: psutil.Process | None) -> Clock:
    """Read all clocks; ``server`` counts with its children."""
    processes = [server, *server.children(recursive=True)] if server else []
    server_s = sum(sum(process.cpu_times()[:2]) for process in processes)
    machine = psutil.cpu_times()
    busy_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    return Clock(time.monotonic(), time.process_time(), server_s, busy_s)


async def keep_busy(
    url: str,
    images: list[bytes],
    *,
    seconds: float,
    warm_up_s: float,
    concurrency: int,
    server: psutil.Process | None = None,
) -> Load:
    """Send images, ``concurrency`` at a time, for that time; requests then under way do not count."""
    warm_s = time.monotonic() + warm_up_s
    end_s = warm_s + seconds

    def until_the_end() -> Iterator[bytes]:
        return itertools.takewhile(lambda _: time.monotonic() < end_s, itertools.cycle(images))

    begun = ended = read_clock(server)
    latencies: list[float] = []
    failed = 0
    async with AsyncClassifier(url) as classifier:
        results = classifier.classify_many(until_the_end(), concurrency=concurrency, ordered=False)
        async with aclosing(results):
            async for result in results:
                now_s = time.monotonic()
                if now_s < warm_s:
                    continue
                if not latencies and not failed:
                    begun = read_clock(server)  # this image ends the warm-up and is not counted
                if now_s >= end_s:
                    break
                failed += result.error is not None
                latencies.append(result.latency_s)
            ended = read_clock(server)
    counted = latencies[1:]
    wall_s = ended.wall_s - begun.wall_s
    generator_cores = (ended.generator_s - begun.generator_s) / wall_s
    server_cores = (ended.server_s - begun.server_s) / wall_s
    return Load(
        images=len(counted),
        failed=failed,
        seconds=wall_s,
        images_per_s=len(counted) / wall_s,
        p50_s=percentile(counted, 50),
        p99_s=percentile(counted, 99),
        generator_cores=generator_cores,
        server_cores=server_cores,
        other_cores=(ended.machine_s - begun.machine_s) / wall_s - generator_cores - server_cores,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gRPC service")
    parser.add_argument("--jpegs", required=True, type=Path, help="folder of image files, sent in turn")
    parser.add_argument("--seconds", type=float, default=5, help="how long is measured (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=1, help="seconds before that (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once (%(default)s)")
    parser.add_argument("--server-pid", type=int, help="its processor time is reported, too")
    options = parser.parse_args()
    load = asyncio.run(
        keep_busy(
            options.url,
            [path.read_bytes() for path in sorted(options.jpegs.iterdir())],
            seconds=options.seconds,
            warm_up_s=options.warm_up,
            concurrency=options.concurrency,
            server=psutil.Process(options.server_pid) if options.server_pid else None,
        )
    )
    print(json.dumps(asdict(load)))
    return 1 if load.failed else 0


if __name__ == "__main__":
    sys.exit(main())
