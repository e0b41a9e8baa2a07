"""What ``bench`` prints: one load at a time, as a table with a plot, as JSON, or as CSV."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol

from rich.console import Console
from rich.text import Text

from alexnet_client._status import ServerStatus

from .latency_plot import latency_plot
from .load import Load, percentile

PERCENTS = (50, 90, 99)
CSV_HEADER = (
    *("concurrency", "seconds", "images", "failed", "images_per_s"),
    *("mean_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms", "client_cores", "client_us_per_image"),
)
COLUMNS = ("concurrency", "images/s", "p50", "p90", "p99", "max", "failed", "client CPU")
WIDTHS = (11, 8, 7, 7, 7, 7, 6, 10)  # fits 80 columns


class BenchWriter(Protocol):
    """Writes loads in one format."""

    def begin(self, status: ServerStatus, images: Sequence[bytes], *, generated: bool) -> None:
        """Before the first load: who is measured, with what."""

    def write(self, load: Load) -> None:
        """One load, at once."""

    def end(self) -> None:
        """After the last load, also when the run was interrupted."""


def bench_writer(format: str) -> BenchWriter:
    """The writer for ``table``, ``json`` or ``csv``, on stdout."""
    if format == "table":
        return BenchTable(Console(highlight=False))
    writers: dict[str, Callable[[IO[str]], BenchWriter]] = {"json": BenchJson, "csv": BenchCsv}
    return writers[format](sys.stdout)


def milliseconds(seconds: float) -> str:
    """Three digits that mean something: ``0.48 ms``, ``12.3 ms``, ``245 ms``; ``-`` for NaN."""
    if math.isnan(seconds):
        return "-"
    ms = seconds * 1000
    return f"{ms:.{2 if ms < 1 else 1 if ms < 100 else 0}f} ms"


def album_line(images: Sequence[bytes], generated: bool) -> str:
    """What is sent."""
    size = f"{sum(map(len, images)) / len(images) / 1000:.0f} KB each"
    if generated:
        return f"{len(images)} generated PNG images, {size}; name photographs of yours for figures that mean something"
    return f"{len(images)} {'image' if len(images) == 1 else 'images'}, {size.replace('each', 'on average')}"


def cells_from_load(load: Load) -> tuple[str, ...]:
    """One row of the table."""
    latencies = [percentile(load.latencies_s, percent) for percent in (*PERCENTS, 100)]
    return (
        str(load.concurrency),
        f"{load.images_per_s:.1f}",
        *map(milliseconds, latencies),
        str(load.failed),
        f"{load.client_cores:.2f} cores",
    )


def server_lines(load: Load) -> list[str]:
    """Where an image's time went: on the way, and in each model's queue and computation."""
    if not load.server:
        return []
    whole, *composing = load.server
    lines = [f"at concurrency {load.concurrency}, the mean image took {milliseconds(load.mean_s)}:"]
    # requests that were under way at either end make the two means differ a little
    outside = milliseconds(max(0.0, load.mean_s - whole.total_s))
    rows = [("client and network", outside, "")]
    for work in composing:
        batches = f"in batches of {work.batch:.1f}"
        rows += [(f"{work.model}, queue", milliseconds(work.queue_s), "")]
        rows += [(f"{work.model}, compute", milliseconds(work.compute_s), batches)]
    width = max(len(name) for name, _, _ in rows)
    return lines + [f"  {name:<{width}}  {time:>9}  {note}".rstrip() for name, time, note in rows]


class BenchTable:
    """A row for each load as it comes; at the end errors, the server's share and, on a terminal, a plot."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._loads: list[Load] = []

    def begin(self, status: ServerStatus, images: Sequence[bytes], *, generated: bool) -> None:
        """The server, the images and the heads of the columns."""
        self._line(f"{status.name} {status.version} at {status.url}")
        self._line(album_line(images, generated))
        self._line("")
        self._line(_row(COLUMNS), "bold")

    def write(self, load: Load) -> None:
        """Its row."""
        self._loads.append(load)
        self._line(_row(cells_from_load(load)), "red" if load.failed else "")

    def end(self) -> None:
        """What the rows do not say."""
        for load in self._loads:
            for kind, count in load.errors.items():
                reason = f"{kind} x {count}, the first: {load.reasons[kind]}"
                self._line(f"failed at concurrency {load.concurrency}: {reason}", "red")
        plot = latency_plot(self._loads, self._console.width) if self._console.is_terminal else []
        for lines in (plot, server_lines(self._loads[-1]) if self._loads else []):
            for line in ["", *lines] if lines else []:
                self._line(line)

    def _line(self, text: str, style: str = "") -> None:
        if self._console.is_terminal:
            self._console.print(Text(text, style), soft_wrap=True)
        else:
            print(text, file=self._console.file, flush=True)


def _row(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def row_from_load(load: Load) -> dict[str, Any]:
    """One load as JSON; a figure that there is none of is null."""

    def number(value: float, digits: int = 3) -> float | None:
        return None if math.isnan(value) else round(value, digits)

    latency = {f"p{percent}": number(percentile(load.latencies_s, percent) * 1000) for percent in PERCENTS}
    return {
        "concurrency": load.concurrency,
        "seconds": number(load.seconds),
        "images": load.images,
        "failed": load.failed,
        "errors": load.errors,
        "images_per_s": number(load.images_per_s),
        "latency_ms": {
            "mean": number(load.mean_s * 1000),
            **latency,
            "max": number(percentile(load.latencies_s, 100) * 1000),
        },
        "client": {"cores": number(load.client_cores), "us_per_image": number(load.client_s_per_image * 1e6, 1)},
        "server": [
            {
                "model": work.model,
                "requests": work.requests,
                "batch": number(work.batch),
                "queue_ms": number(work.queue_s * 1000),
                "compute_ms": number(work.compute_s * 1000),
                "total_ms": number(work.total_s * 1000),
            }
            for work in load.server
        ],
    }


class BenchJson:
    """One object: the server, the images, and a row for each load."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._report: dict[str, Any] = {}

    def begin(self, status: ServerStatus, images: Sequence[bytes], *, generated: bool) -> None:
        """Kept for the end."""
        mean_bytes = round(sum(map(len, images)) / len(images))
        self._report = {
            "server": {"url": status.url, "name": status.name, "version": status.version},
            "images": {"count": len(images), "mean_bytes": mean_bytes, "generated": generated},
            "loads": [],
        }

    def write(self, load: Load) -> None:
        """Kept for the end."""
        self._report["loads"].append(row_from_load(load))

    def end(self) -> None:
        """All of it."""
        print(json.dumps(self._report, indent=2, ensure_ascii=False), file=self._stream, flush=True)


class BenchCsv:
    """One row a load, without errors by kind and without the server's share."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._csv = csv.writer(stream, lineterminator="\n")

    def begin(self, status: ServerStatus, images: Sequence[bytes], *, generated: bool) -> None:
        """The header."""
        self._csv.writerow(CSV_HEADER)

    def write(self, load: Load) -> None:
        """Its row."""
        row = row_from_load(load)
        values = (*(row[key] for key in CSV_HEADER[:5]), *row["latency_ms"].values(), *row["client"].values())
        self._csv.writerow(["" if value is None else value for value in values])
        self._stream.flush()

    def end(self) -> None:
        """Nothing."""
