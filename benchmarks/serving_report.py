"""The tables of serving.py, and the files and the section of docs/performance.md that are made of its results.

    python benchmarks/serving_report.py runs/serving.jsonl                  # the tables
    python benchmarks/serving_report.py runs/serving.jsonl --docs docs      # and tables, CSV and pictures into docs/

In: the file that serving.py wrote. Out: tables on stdout; with --docs, docs/performance/ and the part of
docs/performance.md between the two markers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alone import ENGINES, MEGAPIXELS
from figures import spread
from report import new_console, new_table
from results import Results
from sides import PEER_NAMES, engine_of
from targets import CONCURRENCY, bound_of, targets

BEGIN, END = "<!-- serving: begin -->", "<!-- serving: end -->"
FOLDER = "performance"  # of docs/, for pictures and data


@dataclass(frozen=True)
class Table:
    """Text in rows and columns; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]

    def markdown(self) -> str:
        """The table as Markdown, numbers to the right."""
        lines = [f"| {' | '.join(self.columns)} |", f"| --- |{' ---: |' * (len(self.columns) - 1)}"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what serving.py wrote")
    parser.add_argument("--docs", type=Path, help="folder with performance.md")
    options = parser.parse_args()
    if not options.results.is_file():
        parser.error(f"there is no {options.results}; next: python benchmarks/serving.py --output {options.results}")
    results = Results(options.results)
    print_report(results)
    if options.docs:
        write_report(results, options.docs)
    return 0


def print_report(results: Results) -> None:
    """Print what was measured to stdout."""
    console = new_console()
    for table in tables(results):
        printed = new_table(table.title, *table.columns[1:])
        for row in table.rows:
            printed.add_row(*row)
        console.print(printed)
    console.print(setting(results))


def write_report(results: Results, docs: Path) -> None:
    """Write pictures, CSV and results into docs/performance/, and the tables into docs/performance.md.

    Raises:
        ValueError: docs/performance.md lacks the markers.
    """
    from serving_pictures import write_pictures

    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    write_pictures(results, folder)
    results.write_csv(folder / "serving.csv")
    if results.path.resolve() != (folder / "serving.jsonl").resolve():
        shutil.copyfile(results.path, folder / "serving.jsonl")
    page = docs / "performance.md"
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} must hold {BEGIN} and {END} once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = [f"**{table.title}**\n\n{table.markdown()}" for table in tables(results)]
    section = "\n\n".join([BEGIN, *parts, setting(results), END])
    page.write_text(before + section + after, encoding="utf-8")
    print(f"wrote {page} and {folder}", file=sys.stderr)


def tables(results: Results) -> list[Table]:
    """Every table that has a row."""
    found = [targets_table(results), busy_table(results), concurrency_table(results), alone_table(results)]
    found += [sizes_table(results), settings_table(results)]
    return [table for table in found if table.rows]


def targets_table(results: Results) -> Table:
    """The targets and what was reached."""
    rows = []
    for target in targets(results):
        verdict = "reached" if target.reached else "**missed**"
        limit = f"{'at most' if target.at_most else 'at least'} {target.limit:.2f}"
        rows.append([target.name, f"{target.ratio:.2f}", limit, verdict])
    return Table(f"Targets, {CONCURRENCY} concurrent requests", ("", "ratio", "target", ""), rows)


def busy_table(results: Results) -> Table:
    """Every side with 32 requests under way."""
    columns = (
        "", "load from", "images/s", "least to most", "of its bound", "p50 ms", "p99 ms", "server cores",
        "load cores", "other cores", "MiB",
    )  # fmt: skip
    rows = []
    for side in results.sides():
        for tool in dict.fromkeys(turn["tool"] for turn in results.of("turn", side=side, concurrency=CONCURRENCY)):
            rows.append(busy_row(results, side, tool))
    return Table(f"{CONCURRENCY} concurrent requests", columns, rows)


def busy_row(results: Results, side: str, tool: str) -> list[str]:
    loads = results.loads(side, CONCURRENCY, tool)
    images_per_s = spread([load.images_per_s for load in loads])
    most = bound_of(results, side.rsplit("-", 1)[1], engine_of(side))

    def median(field: str) -> float:
        return spread([getattr(load, field) for load in loads]).p50

    return [
        results.one("about")["names"][side],
        {"client": "this client"}.get(tool, tool),
        f"{images_per_s.p50:.1f}",
        f"{images_per_s.min:.1f} to {images_per_s.max:.1f}",
        f"{images_per_s.p50 / most:.2f}" if most else "",
        *(f"{median(field) * 1e3:.0f}" for field in ("p50_s", "p99_s")),
        *(f"{median(field):.2f}" for field in ("server_cores", "generator_cores", "other_cores")),
        f"{median('server_bytes') / 2**20:.0f}",
    ]


def concurrency_table(results: Results) -> Table:
    """Images per second and median latency of every side by the number of requests under way."""
    numbers = sorted({turn["concurrency"] for turn in results.of("turn")})
    rows = []
    for side in results.sides():
        cells = [(results.median(side, number), results.median(side, number, "p50_s")) for number in numbers]
        texts = [f"{rate:.1f} ({p50 * 1e3:.0f} ms)" if rate and p50 else "" for rate, p50 in cells]
        rows.append([results.one("about")["names"][side], *texts])
    columns = ("requests at once", *map(str, numbers))
    return Table("Images per second, and the median latency, by concurrency", columns, rows)


def alone_table(results: Results) -> Table:
    """The work without a server."""
    rows = []
    for precision, engine in itertools.product(("fp32", "int8"), ENGINES):
        sizes = {"precision": precision, "engine": engine}
        rates = [results.alone("network", batch_size=size, **sizes) for size in (1, CONCURRENCY)]
        most = bound_of(results, precision, engine)
        if all(rates) and most:
            name = f"network, {precision.upper()}, {ENGINES[engine]}"
            rows.append([name, *(f"{rate:.1f}" for rate in rates), f"{most:.1f}"])
    if (decoded := results.alone("decode")) is not None:
        rows.append(["decoding and resizing", f"{decoded:.0f}", "", ""])
    columns = ("images/s, all cores", "one at a time", f"batch {CONCURRENCY}", "bound with decoding")
    return Table("The work alone, without a server", columns, rows)


def sizes_table(results: Results) -> Table:
    """Decoding by the size of the image."""
    by_size = {record["megapixels"]: record for record in results.of("size")}
    rows = [
        [f"{size:g}", f"{by_size[size]['bytes'] / 1e3:.0f}", f"{by_size[size]['decode_s'] * 1e3:.1f}"]
        for size in MEGAPIXELS
        if size in by_size
    ]
    return Table("Decoding and resizing by the size of the JPEG, one core", ("megapixels", "KB", "ms"), rows)


def settings_table(results: Results) -> Table:
    """What the peers were tried with."""
    records = results.of("setting")
    rows = [
        [PEER_NAMES[r["side"].split("-")[0]], described(json.loads(r["settings"])), f"{r['load']['images_per_s']:.1f}"]
        for r in records
    ]
    rows.sort(key=lambda row: (row[0], -float(row[2])))
    return Table(f"Settings of the peers, {CONCURRENCY} concurrent requests, FP32", ("", "settings", "images/s"), rows)


def setting(results: Results) -> str:
    """One paragraph: what was measured, and on what."""
    about: dict[str, Any] = results.one("about")
    machine, sizes = about["machine"], about["jpeg_bytes"]
    network = {
        "imagenet": "torchvision's AlexNet, 224 pixels, 1000 classes, random weights (the same speed as any others)",
        "demo": "the demo network: AlexNet of the 2012 paper, 227 pixels, 101 classes",
    }[about["network"]]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    peers = ", ".join(f"{PEER_NAMES[kind]} ({described(best)})" for kind, best in about["peer_settings"].items())
    width, height = about["jpeg_size"]
    sittings = len(results.of("sitting"))
    apart = f" in {sittings} sittings, between which the machine's speed may have changed" if sittings > 1 else ""
    return (
        f"Network: {network}. Images: JPEG, {width}x{height}, {sizes['min'] / 1e3:.0f} to {sizes['max'] / 1e3:.0f} KB, "
        f"median {sizes['p50'] / 1e3:.0f} KB. Settings of the peers: {peers}. Measured on {machine['date']}{apart}: "
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}; "
        f"Python {machine['python']}, {packages}."
    )


def described(settings: dict[str, str | int]) -> str:
    """Settings in words: "workers 2, threads 1"."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


if __name__ == "__main__":
    sys.exit(main())
