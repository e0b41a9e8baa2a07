"""Sends photographs to a server, many at once or one after the other, and says what came back.

    python -m alexnet_build.tuning.load --url 127.0.0.1:8001 < orders.jsonl

In, a line of JSON each: first ``{"photographs": [[PATH, index of the right class or null], ...]}``, then orders:
``{"do": "many", "seconds": 2, "warm_up_s": 0.5, "concurrency": 32}`` or ``{"do": "singles", "count": 10}``. Out: a line
of JSON for each order. It ends when its input does. A process of its own, started by ``generator``, so that what
sending costs is nobody else's; each order ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from alexnet_client import AsyncClassifier, Result

DEADLINE_S = 30


@dataclass
class Counted:
    """What came back while it was counted.

    Attributes:
        failed: Requests that came back with an error.
        wrong: Answers with another first class than expected.
        error: The first error's words.
        latencies_s: Of every request that came back, in seconds.
        seconds: How long was counted.
        cores: Processor seconds of this process a second.
    """

    failed: int = 0
    wrong: int = 0
    error: str = ""
    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cores: float = 0.0

    def add(self, result: Result, expected: int | None) -> None:
        """Count one answer; ``expected`` is the index of its first class, None where any will do."""
        self.latencies_s.append(result.latency_s)
        if result.error is not None:
            self.failed += 1
            self.error = self.error or str(result.error)
        elif expected is not None and result.predictions[0].index != expected:
            self.wrong += 1


class Sender:
    """Photographs in memory and a client.

    Args:
        classifier: To send with.
        photographs: Files' bytes, each with the index of its first class, or None where two classes are too close.
    """

    def __init__(self, classifier: AsyncClassifier, photographs: list[tuple[bytes, int | None]]) -> None:
        self._classifier = classifier
        self._photographs = photographs

    async def many(self, *, seconds: float, warm_up_s: float, concurrency: int) -> Counted:
        """Keep the server busy, and count what comes back, for at least ``seconds`` after the warm-up.

        Answers come back in batches, so counting for a fixed time would be off by as many as a batch holds. Counted is
        therefore from one answer to another that is a multiple of ``concurrency`` later: by then each place has been
        taken equally often, whatever the batches. The warm-up takes at least two such multiples, for the first
        requests come all at once. Requests that are under way at the end are waited for and not counted, so that the
        next order finds the server idle.
        """
        counted, returned, over = Counted(), 0, False
        begun_s, begun_cpu_s, warm_s = math.inf, 0.0, time.monotonic() + warm_up_s
        endless = itertools.cycle(image_bytes for image_bytes, _ in self._photographs)
        images = itertools.takewhile(lambda _: not over, endless)
        async for result in self._classifier.classify_many(images, top_k=1, concurrency=concurrency, ordered=False):
            now_s, returned = time.monotonic(), returned + 1
            if over:
                continue
            if begun_s < math.inf:
                counted.add(result, self._expected(result))
            if returned % concurrency:
                continue
            if begun_s == math.inf and now_s >= warm_s and returned >= 2 * concurrency:
                begun_s, begun_cpu_s = now_s, time.process_time()
            elif now_s >= begun_s + seconds:
                over, counted.seconds = True, now_s - begun_s
                counted.cores = (time.process_time() - begun_cpu_s) / counted.seconds
        return counted

    async def singles(self, *, count: int) -> Counted:
        """Send one after the other, each when the one before has come back."""
        counted, begun_s = Counted(), time.monotonic()
        images = itertools.islice(itertools.cycle(image_bytes for image_bytes, _ in self._photographs), count)
        async for result in self._classifier.classify_many(images, top_k=1, concurrency=1):
            counted.add(result, self._expected(result))
        counted.seconds = time.monotonic() - begun_s
        return counted

    def _expected(self, result: Result) -> int | None:
        return self._photographs[result.index % len(self._photographs)][1]


async def answer_orders(url: str) -> None:
    """Read orders from stdin until it ends; write a line for each."""
    named = json.loads(sys.stdin.readline())["photographs"]
    photographs = [(Path(path).read_bytes(), expected) for path, expected in named]
    async with AsyncClassifier(url, deadline_s=DEADLINE_S) as classifier:
        sender = Sender(classifier, photographs)
        orders: dict[str, Callable[..., Awaitable[Counted]]] = {"many": sender.many, "singles": sender.singles}
        # Nothing is under way between two orders, so reading may block the loop.
        while line := sys.stdin.readline():
            order = json.loads(line)
            counted = await orders[order.pop("do")](**order)
            print(json.dumps(asdict(counted)), flush=True)


def main() -> None:
    """Read the command line and answer orders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gRPC service")
    asyncio.run(answer_orders(parser.parse_args().url))


if __name__ == "__main__":
    main()
