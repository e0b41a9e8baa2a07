"""Numbers for people: three digits that count, and rates with a prefix. Called by the report and the pictures."""

from __future__ import annotations


def three_digits(value: float) -> str:
    """``0.123``, ``1.23``, ``12.3``, ``123``, ``1,234``."""
    for digits, below in ((3, 0.9995), (2, 9.995), (1, 99.95)):
        if value < below:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def time_unit(milliseconds: float) -> tuple[float, str]:
    """What to multiply milliseconds by, and the unit then: microseconds where layers of a GPU would be all zeros."""
    return (1e3, "µs") if milliseconds < 10 else (1.0, "ms")


def with_prefix(value: float) -> str:
    """``75.1 G``; the unit follows: ``75.1 GFLOP/s``."""
    for limit, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= 0.9995 * limit:
            return f"{value / limit:.3g} {prefix}"
    return f"{value:.3g} "
