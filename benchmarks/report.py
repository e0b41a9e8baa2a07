"""The tables that ensemble.py prints: what was measured, and on what."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from figures import Spread, spread
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ensemble import Figures
    from load import Load


def print_report(figures: Figures) -> None:
    """Print both tables and the machine to stdout."""
    console = new_console()
    width, height = figures.jpeg_size
    console.print(latency_table(figures))
    console.print(throughput_table(figures))
    console.print(
        f"images: JPEG, {width}x{height}, {figures.jpeg_bytes.min / 1000:.0f} to "
        f"{figures.jpeg_bytes.max / 1000:.0f} KB, median {figures.jpeg_bytes.p50 / 1000:.0f} KB"
    )
    machine = figures.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    console.print(
        f"machine: {machine.cores} cores of {machine.processor}, {machine.memory_gib} GiB, {machine.system}; "
        f"Python {machine.python}, {packages}; {machine.date}"
    )


def latency_table(figures: Figures) -> Table:
    """Milliseconds of one request at a time."""
    table = new_table("latency, one request at a time", "p50 ms", "p99 ms", "requests")
    for name, seconds in (("in process", figures.in_process_s), ("ensemble", figures.ensemble_s)):
        table.add_row(name, f"{seconds.p50 * 1e3:.1f}", f"{seconds.p99 * 1e3:.1f}", str(seconds.count))
    table.add_section()
    table.add_row("ratio", *ratio_cells(figures.latency_ratio, figures.latency_ratios))
    return table


def throughput_table(figures: Figures) -> Table:
    """Images per second of every side, and who used the cores meanwhile."""
    columns = (
        "images/s",
        "min",
        "max",
        "p50 ms",
        "p99 ms",
        "server\ncores",
        "generator\ncores",
        "other\ncores",
    )
    table = new_table("throughput, 32 concurrent requests", *columns)
    for side, loads in figures.throughput.items():
        table.add_row(side, *throughput_cells(loads))
    table.add_section()
    *ours, baseline = figures.throughput
    for side in ours:
        cells = ratio_cells(figures.throughput_ratio(side), figures.throughput_ratios(side))
        table.add_row(f"{side} / {baseline}", *cells)
    return table


def throughput_cells(loads: list[Load]) -> list[str]:
    """The median of the rounds in every column, after the least and the most images per second."""
    images_per_s = spread([load.images_per_s for load in loads])
    return [
        *(f"{value:.1f}" for value in (images_per_s.p50, images_per_s.min, images_per_s.max)),
        *(f"{median(loads, field) * 1e3:.0f}" for field in ("p50_s", "p99_s")),
        *(f"{median(loads, field):.2f}" for field in ("server_cores", "generator_cores", "other_cores")),
    ]


def median(loads: list[Load], field: str) -> float:
    """The median of one field over the rounds."""
    return spread([getattr(load, field) for load in loads]).p50


def ratio_cells(of_medians: float, of_rounds: Spread) -> list[str]:
    """The ratio of the medians, and the least and the greatest ratio of a round."""
    return [f"{of_medians:.2f}", f"{of_rounds.min:.2f} (min)", f"{of_rounds.max:.2f} (max)"]


def new_console() -> Console:
    """Standard output; a file or a pipe has no width of its own and gets one that the tables fit into."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def new_table(title: str, *columns: str) -> Table:
    """A table whose first column names the side."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table
