"""Latencies as text: a histogram for each load, one line high, over one logarithmic axis.

In: loads. Out: lines of plain characters. Called by: the table of ``bench``, on a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .load import Load

HEIGHTS = " ▁▂▃▄▅▆▇█"
LONGEST_AXIS = 72
MARGIN = 13  # columns left of the axis: the concurrency and two blanks


def latency_plot(loads: Sequence[Load], width: int) -> list[str]:
    """A line of heights for each load, above an axis in milliseconds; nothing for no images, or no room.

    Args:
        loads: What was measured.
        width: Columns of the terminal.
    """
    shown = [load for load in loads if load.images]
    columns = min(width - MARGIN - 1, LONGEST_AXIS)
    if not shown or columns < 24:
        return []
    low, high = axis_range(min(load.latencies_s[0] for load in shown), max(load.latencies_s[-1] for load in shown))
    lines = ["how often an image took how long, at each concurrency:"]
    for load in shown:
        bars = heights(histogram(load.latencies_s, low, high, columns))
        lines.append(f"{load.concurrency:>{MARGIN - 2}}  {bars}".rstrip())
    return [*lines, " " * MARGIN + axis(low, high, columns)]


def axis_range(shortest_s: float, longest_s: float) -> tuple[float, float]:
    """From 1, 2 or 5 of a power of ten below the shortest to one above the longest, in seconds."""
    steps = [step * 10.0**power for power in range(-6, 4) for step in (1, 2, 5)]
    low = max((step for step in steps if step <= shortest_s), default=steps[0])
    high = min((step for step in steps if step > longest_s), default=steps[-1])
    return low, high


def histogram(values: Sequence[float], low: float, high: float, columns: int) -> list[int]:
    """How many values fall into each of ``columns`` parts of equal ratio between ``low`` and ``high``."""
    counts = [0] * columns
    scale = columns / math.log(high / low)
    for value in values:
        counts[min(max(int(math.log(max(value, low) / low) * scale), 0), columns - 1)] += 1
    return counts


def heights(counts: Sequence[int]) -> str:
    """A character for each count, as high as its share of the largest; what is there at all can be seen."""
    top = max(counts)
    return "".join(HEIGHTS[math.ceil(count / top * (len(HEIGHTS) - 1))] if count else " " for count in counts)


def axis(low: float, high: float, columns: int) -> str:
    """Milliseconds at 1, 2 and 5 of each power of ten, each label starting at its place; those that collide go."""
    line = ""
    for power in range(-6, 4):
        for step in (1, 2, 5):
            tick_s = step * 10.0**power
            if not low <= tick_s < high:
                continue
            at = round(math.log(tick_s / low) / math.log(high / low) * columns)
            label = f"{tick_s * 1000:g} ms"
            if (not line or at >= len(line) + 2) and at + len(label) <= columns:
                line = line.ljust(at) + label
    return line
