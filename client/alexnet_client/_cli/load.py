"""Keeps a server busy for some seconds, a fixed number of images at a time, and says what came back.

In: encoded images and a client. Out: a ``Load``. Called by: ``bench``, once for each concurrency.
"""

from __future__ import annotations

import itertools
import math
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from alexnet_client._async_classifier import AsyncClassifier
from alexnet_client._calls import ModelStatistics
from alexnet_client._predictions import Result
from alexnet_client._statistics import ModelWork, work_between

Counters = Sequence[ModelStatistics] | None
"""What the server's models have done so far; None if it does not tell."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came back while so many images were under way.

    Attributes:
        concurrency: Images under way at once.
        seconds: How long it was measured, the warm-up left out.
        latencies_s: Seconds of each image that was classified, ascending.
        errors: How many images failed, by the name of the error.
        reasons: The first message of each of these errors.
        client_cpu_s: Processor time of this process meanwhile, in seconds.
        server: What each model did meanwhile, the ensemble first; empty if the server does not tell.
    """

    concurrency: int
    seconds: float
    latencies_s: Sequence[float]
    errors: dict[str, int]
    reasons: dict[str, str]
    client_cpu_s: float
    server: tuple[ModelWork, ...] = ()

    @property
    def images(self) -> int:
        """Images that were classified."""
        return len(self.latencies_s)

    @property
    def failed(self) -> int:
        """Images that were not."""
        return sum(self.errors.values())

    @property
    def images_per_s(self) -> float:
        """Images classified a second."""
        return self.images / self.seconds if self.seconds > 0 else 0.0

    @property
    def mean_s(self) -> float:
        """Mean latency; NaN without images."""
        return math.fsum(self.latencies_s) / self.images if self.images else math.nan

    @property
    def client_cores(self) -> float:
        """Cores that this process kept busy."""
        return self.client_cpu_s / self.seconds if self.seconds > 0 else 0.0

    @property
    def client_s_per_image(self) -> float:
        """Processor time of this process for one image; NaN without images."""
        return self.client_cpu_s / (self.images + self.failed) if self.images + self.failed else math.nan


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` percent of the values do not exceed (nearest rank); NaN of none."""
    if not ascending:
        return math.nan
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


class Recorder:
    """Collects the results of one concurrency; ``load`` is asked for at the end, or when it was cut short."""

    def __init__(
        self, concurrency: int, now_s: Callable[[], float], cpu_s: Callable[[], float] = time.process_time
    ) -> None:
        self._concurrency = concurrency
        self._now_s, self._cpu_s = now_s, cpu_s
        self._latencies_s = array("d")
        self._errors: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._begun: tuple[float, float] | None = None
        self._ended: tuple[float, float] | None = None
        self._before: Counters = None
        self._after: Counters = None

    def begin(self, counters: Counters) -> None:
        """From here on results count."""
        self._before = counters
        self._begun = (self._now_s(), self._cpu_s())

    def add(self, result: Result) -> None:
        """One image that came back."""
        if result.error is None:
            self._latencies_s.append(result.latency_s)
        else:
            kind = type(result.error).__name__
            self._errors[kind] += 1
            self._reasons.setdefault(kind, result.error.message)

    def end(self) -> None:
        """Results count no more; only the first end is one."""
        self._ended = self._ended or (self._now_s(), self._cpu_s())

    def compare(self, counters: Counters) -> None:
        """Say what the server's counters have come to."""
        self._after = counters

    def load(self) -> Load | None:
        """What was measured; None if it was cut short before anything was."""
        self.end()
        if self._begun is None or self._ended is None or not (self._latencies_s or self._errors):
            return None
        return Load(
            concurrency=self._concurrency,
            seconds=self._ended[0] - self._begun[0],
            latencies_s=sorted(self._latencies_s),
            errors=dict(self._errors.most_common()),
            reasons=dict(self._reasons),
            client_cpu_s=self._ended[1] - self._begun[1],
            server=work_between(self._before, self._after) if self._before and self._after else (),
        )


async def keep_busy(
    classifier: AsyncClassifier,
    images: Sequence[bytes],
    recorder: Recorder,
    *,
    concurrency: int,
    seconds: float,
    warmup_s: float,
    top_k: int,
    now_s: Callable[[], float],
    read_counters: Callable[[], Awaitable[Counters]],
) -> None:
    """Send ``images`` in turn until the time is over, then give up those that are still under way.

    The image that ends the warm-up starts the clock and does not count; the one that ends the run does.
    """
    warm_s = now_s() + warmup_s
    end_s = math.inf

    def until_the_end() -> Iterator[bytes]:
        return itertools.takewhile(lambda _: now_s() < end_s, itertools.cycle(images))

    results = classifier.classify_many(until_the_end(), top_k=top_k, concurrency=concurrency, ordered=False)
    async with aclosing(results):
        async for result in results:
            if end_s == math.inf:
                if now_s() >= warm_s:
                    recorder.begin(await read_counters())
                    end_s = now_s() + seconds
            else:
                recorder.add(result)
                if now_s() >= end_s:
                    break
        recorder.end()
        recorder.compare(await read_counters())
