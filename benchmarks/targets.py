"""What serving is meant to reach on a CPU, as ratios within one run, and what it reached.

In: `Results`. Out: a ``Target`` each, reached or not. Called by serving_report.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from alone import bound
from results import Results
from sides import PEER_NAMES

CONCURRENCY = 32
MIN_SHARE_OF_BOUND = 0.90
MIN_OVER_EXAMPLE = {"fp32": 4.0, "int8": 8.0}
MAX_LATENCY_RATIO = 1.15
MIN_OVER_PEER = {"fp32": 1.3, "int8": 1.5}


@dataclass(frozen=True)
class Target:
    """One ratio and its limit.

    Attributes:
        name: what is compared.
        ratio: what was measured.
        limit: what it is meant to reach.
        at_most: the limit is the most that is wanted, not the least.
    """

    name: str
    ratio: float
    limit: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the ratio is on the wanted side of the limit."""
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit


def targets(results: Results) -> list[Target]:
    """Every target whose two sides were measured."""
    found = []
    ours = {precision: results.median(f"ours-{precision}", CONCURRENCY) for precision in ("fp32", "int8")}
    most = bound_of(results, "fp32")
    if ours["fp32"] and most:
        found.append(Target("FP32, share of the bound", ours["fp32"] / most, MIN_SHARE_OF_BOUND))
    example = results.median("example-fp32", CONCURRENCY)
    for precision, images_per_s in ours.items():
        if images_per_s and example:
            name = f"{precision.upper()} over NVIDIA's example (FP32)"
            found.append(Target(name, images_per_s / example, MIN_OVER_EXAMPLE[precision]))
    for kind, peer in PEER_NAMES.items():
        for precision, images_per_s in ours.items():
            theirs = results.median(f"{kind}-{precision}", CONCURRENCY)
            if images_per_s and theirs:
                name = f"{precision.upper()} over {peer} ({precision.upper()})"
                found.append(Target(name, images_per_s / theirs, MIN_OVER_PEER[precision]))
    for latency in results.of("latency"):
        name = f"{latency['precision'].upper()}, one request at a time over the same work in one process (p50)"
        found.append(Target(name, latency["ratio"], MAX_LATENCY_RATIO, at_most=True))
    return found


def bound_of(results: Results, precision: str, engine: str = "openvino") -> float | None:
    """Images per second of a server that wasted nothing; None where the parts were not measured."""
    decoded = results.alone("decode")
    classified = results.alone("network", precision=precision, engine=engine, batch_size=CONCURRENCY)
    return bound(decoded, classified) if decoded and classified else None
