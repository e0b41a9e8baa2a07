"""What serving is meant to reach on a CPU, as ratios within one run, and what it reached.

In: `Results`. Out: a ``Target`` each, reached or not. Called by serving_report.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from alone import bound
from figures import spread
from results import Results
from sides import PEER_NAMES

CONCURRENCY = 32
MIN_SHARE_OF_BOUND = 0.90
MIN_OVER_EXAMPLE = {"fp32": 4.0, "int8": 8.0}
MAX_LATENCY_RATIO = 1.15
MIN_CLIENT_SHARE = 0.90
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
    if share := share_of_bound(results, "fp32"):
        found.append(Target("FP32, share of the bound", share, MIN_SHARE_OF_BOUND))
    for precision, least in MIN_OVER_EXAMPLE.items():
        if ratio := results.ratio(f"ours-{precision}", "example-fp32", CONCURRENCY):
            found.append(Target(f"{precision.upper()} over NVIDIA's example (FP32)", ratio, least))
    for kind, peer in PEER_NAMES.items():
        for precision, least in MIN_OVER_PEER.items():
            if ratio := results.ratio(f"ours-{precision}", f"{kind}-{precision}", CONCURRENCY):
                found.append(Target(f"{precision.upper()} over {peer} ({precision.upper()})", ratio, least))
    for precision in MIN_OVER_PEER:
        if ratio := client_share(results, precision):
            found.append(Target(f"{precision.upper()}, this client over perf_analyzer", ratio, MIN_CLIENT_SHARE))
    for latency in results.of("latency"):
        name = f"{latency['precision'].upper()}, one request at a time over the same work in one process (p50)"
        found.append(Target(name, latency["ratio"], MAX_LATENCY_RATIO, at_most=True))
    return found


def client_share(results: Results, precision: str) -> float | None:
    """What this project's client got of what perf_analyzer got right beside it: the median of the rounds."""
    ratios = []
    for turn in results.of("turn", side=f"ours-{precision}", concurrency=CONCURRENCY, tool="client"):
        for beside in results.of("turn", side=turn["side"], beside="client", round=turn["round"]):
            ratios.append(turn["load"]["images_per_s"] / beside["load"]["images_per_s"])
    return spread(ratios).p50 if ratios else None


def share_of_bound(results: Results, precision: str) -> float | None:
    """What ours did of the bound that was measured right before it: the median of the rounds."""
    turns = results.of("turn", side=f"ours-{precision}", concurrency=CONCURRENCY, beside="alone")
    bounds = [bound_of(results, precision, round=turn["round"]) for turn in turns]
    shares = [turn["load"]["images_per_s"] / most for turn, most in zip(turns, bounds, strict=True) if most]
    return spread(shares).p50 if shares else None


def bound_of(results: Results, precision: str, engine: str = "openvino", **values: int) -> float | None:
    """Images per second of a server that wasted nothing; None where the parts were not measured."""
    decoded = results.alone("decode", **values)
    sizes = {"precision": precision, "engine": engine, "batch_size": CONCURRENCY}
    classified = results.alone("network", **sizes, **values)
    return bound(decoded, classified) if decoded and classified else None
