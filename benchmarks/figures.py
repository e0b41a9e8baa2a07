"""What many measurements come down to: their order statistics.

In: lists of seconds or of images per second. Out: ``Spread``. Called by every measurement.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The order statistics of one quantity, in its unit."""

    count: int
    min: float
    p50: float
    p99: float
    max: float


def spread(values: Sequence[float]) -> Spread:
    """Return the order statistics of at least one value."""
    return Spread(len(values), min(values), statistics.median(values), percentile(values, 99), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of the values do not exceed (nearest rank).

    Raises:
        ValueError: no values, or a percentage that is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"expected values and a percentage in (0, 100], got {len(values)} and {percent}")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
