"""The pictures of serving.py's results: throughput and latency by concurrency, cost by batch and by image size.

In: `Results`. Out: PNG files. Called by serving_report.py. No pyplot, so no global state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from alexnet_build.insight.pictures import FAINT, INK
from alone import ENGINES
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from results import Results
from targets import bound_of

OURS = "#b5483a"
COLOURS = {
    "ours": OURS, "ours-onnxruntime": "#c98a80", "example": "#5b5149", "litserve": "#6a9bc3", "fastapi": "#7d9e5e",
    "bentoml": "#9a7bb0", "pytriton": "#d6a03d",
}  # fmt: skip
PRECISION_COLOURS = {"fp32": "#6a9bc3", "int8": OURS}
PANELS = {"fp32": "FP32", "int8": "INT8"}
LABEL_GAP = 0.052  # of the axes' height, between two labels


def write_pictures(results: Results, folder: Path) -> None:
    """Write the pictures that the results are enough for."""
    pictures: dict[str, Callable[[Results], Figure | None]] = {
        "throughput": throughput_figure,
        "latency": latency_figure,
        "batch": batch_figure,
        "size": size_figure,
    }
    for name, draw in pictures.items():
        if figure := draw(results):
            figure.savefig(folder / f"{name}.png")


def throughput_figure(results: Results) -> Figure | None:
    """Images per second of every side by the number of requests under way."""
    numbers = concurrencies(results)
    if len(numbers) < 2:
        return None
    figure, panels = two_panels("Images per second by concurrent requests", about(results))
    for axes, precision in zip(panels, PANELS, strict=True):
        lines = lines_of(results, precision, numbers, "images_per_s", 1.0)
        bounds = {engine: bound_of(results, precision, engine) for engine in ENGINES}
        for engine, most in bounds.items():
            if most:
                axes.axhline(most, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
                note = f"bound with {ENGINES[engine]}: {most:.0f}"
                axes.annotate(note, (numbers[0], most), (0, 4), textcoords="offset points", color=INK, fontsize=7.5)
        values = [value for line in lines.values() for value in line.values()]
        axes.set_ylim(0, 1.12 * max([0.0, *values, *(most for most in bounds.values() if most)]))
        draw_lines(axes, results, precision, numbers, lines, "{:.0f}")
    return figure


def latency_figure(results: Results) -> Figure | None:
    """The median latency of every side, and the 99th percentile of ours."""
    numbers = concurrencies(results)
    if len(numbers) < 2:
        return None
    figure, panels = two_panels("Latency in milliseconds, median", f"{about(results)}; band: ours, median to 99 %")
    for axes, precision in zip(panels, PANELS, strict=True):
        lines = lines_of(results, precision, numbers, "p50_s", 1e3)
        axes.set_yscale("log")
        tails = lines_of(results, precision, numbers, "p99_s", 1e3)
        if (ours := f"ours-{precision}") in lines:
            band = [list(values[ours].values()) for values in (lines, tails)]
            axes.fill_between(list(lines[ours]), *band, color=OURS, alpha=0.15, linewidth=0)
        draw_lines(axes, results, precision, numbers, lines, "{:,.0f} ms")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_locator(NullLocator())
    return figure


def batch_figure(results: Results) -> Figure | None:
    """What an image costs the cores by the size of the batch, without a server."""
    cores = results.one("about")["cores"]
    figure, axes = one_panel("What the network costs by batch size", f"OpenVINO alone, {cores} cores")
    drawn = False
    for precision, colour in PRECISION_COLOURS.items():
        ours = {"precision": precision, "engine": "openvino"}
        sizes = sorted({record["batch_size"] for record in results.of("alone", work="network", **ours)})
        rates = [results.alone("network", batch_size=size, **ours) for size in sizes]
        costs = [1e3 * cores / rate for rate in rates if rate]
        if len(costs) < 3:
            continue
        axes.plot(sizes, costs, "o-", color=colour, markersize=4)
        for size, cost in zip(sizes, costs, strict=True):
            place(axes, f"{cost:.1f}", size, cost, colour, "left")
        axes.annotate(
            PANELS[precision], (sizes[-1], costs[-1]), (11, -13), textcoords="offset points", color=colour, fontsize=9
        )
        axes.set_xticks(sizes, [str(size) for size in sizes])
        drawn = True
    axes.set_xscale("log", base=2)
    axes.margins(x=0.09, y=0.12)
    axes.set_ylim(bottom=0)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("images in a batch", color=INK, fontsize=8.5)
    axes.set_ylabel("milliseconds of a core per image", color=INK, fontsize=8.5)
    return figure if drawn else None


def size_figure(results: Results) -> Figure | None:
    """What decoding costs by the size of the image, and when it costs more than the network."""
    records = {record["megapixels"]: record for record in results.of("size")}
    if not records:
        return None
    figure, axes = one_panel("What decoding costs by image size", "JPEG to the network's pixels, one core")
    sizes = sorted(records)
    costs = [1e3 * records[size]["decode_s"] for size in sizes]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(sizes, costs, "o-", color=OURS, markersize=4)
    for size, cost in zip(sizes, costs, strict=True):
        place(axes, f"{cost:.1f}" if cost < 100 else f"{cost:.0f}", size, cost, OURS, "right")
    for precision in PANELS:
        rate = results.alone("network", precision=precision, engine="openvino", batch_size=32)
        if rate:
            cost = 1e3 * results.one("about")["cores"] / rate
            axes.axhline(cost, color=FAINT, linewidth=1, zorder=0)
            note = f"the network, {PANELS[precision]}, batch 32: {cost:.1f} ms"
            axes.annotate(note, (sizes[0], cost), (-6, 3), textcoords="offset points", color=INK, fontsize=7.5)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06, y=0.15)
    axes.set_xlabel("megapixels", color=INK, fontsize=8.5)
    axes.set_ylabel("milliseconds of a core", color=INK, fontsize=8.5)
    return figure


def concurrencies(results: Results) -> list[int]:
    """The numbers of requests under way that were measured."""
    return sorted({turn["concurrency"] for turn in results.of("turn")})


def lines_of(
    results: Results, precision: str, numbers: Sequence[int], field: str, scale: float
) -> dict[str, dict[int, float]]:
    """A value by the number of requests, for each side."""
    lines = {}
    for side in results.sides():
        # NVIDIA's example exists in FP32 alone, and is what INT8 is compared with as well.
        if side.endswith(precision) or side == "example-fp32":
            medians = {number: results.median(side, number, field) for number in numbers}
            lines[side] = {number: scale * value for number, value in medians.items() if value is not None}
    return lines


def draw_lines(
    axes: Axes, results: Results, precision: str, numbers: Sequence[int], lines: dict[str, dict[int, float]], text: str
) -> None:
    """Draw one line a side, its name at its end."""
    names = results.one("about")["names"]
    for side, values in lines.items():
        kind = side.rsplit("-", 1)[0]
        ours = kind == "ours"
        weight = {"linewidth": 2.4, "markersize": 5, "zorder": 3} if ours else {"linewidth": 1.3, "markersize": 3.5}
        axes.plot(list(values), list(values.values()), "o-", color=COLOURS[kind], **weight)
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(PANELS[precision], color=INK, fontsize=9.5, loc="left")
    axes.set_xlabel("concurrent requests", color=INK, fontsize=8.5)
    to_axes = axes.transData + axes.transAxes.inverted()
    last = {side: list(values.values())[-1] for side, values in lines.items()}
    ends = {side: float(to_axes.transform((1, value))[1]) for side, value in last.items()}
    for side, height in spread_out(ends).items():
        kind = side.rsplit("-", 1)[0]
        name = "NVIDIA's, FP32" if kind == "example" and precision != "fp32" else names[side].rsplit(",", 1)[0]
        name = name.replace("this project on", "ours,")  # there is room for so much
        axes.annotate(
            f"{name} {text.format(last[side])}", (1.02, height), xycoords="axes fraction", va="center",
            fontsize=7.8, color=COLOURS[kind], fontweight="bold" if kind == "ours" else "normal",
        )  # fmt: skip


def spread_out(heights: dict[str, float]) -> dict[str, float]:
    """Move labels apart that would overlap, in the order of their heights."""
    placed: dict[str, float] = {}
    lowest = -1.0
    for side, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = max(height, lowest + LABEL_GAP)
        placed[side] = lowest
    return placed


def about(results: Results) -> str:
    """The line under the title."""
    setting = results.one("about")
    network = {"imagenet": "AlexNet, ImageNet's shape", "demo": "AlexNet of the 2012 paper"}[setting["network"]]
    width, height = setting["jpeg_size"]
    kilobytes = setting["jpeg_bytes"]["p50"] / 1e3
    return f"{network}, {setting['cores']} CPU cores, JPEGs of {width}x{height} and {kilobytes:.0f} KB"


def two_panels(title: str, subtitle: str) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(10.4, 4.4), dpi=150, facecolor="white")
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.055, right=0.825, top=0.775, bottom=0.115, wspace=0.56)
    write_titles(figure, title, subtitle)
    for axes in panels:
        style(axes)
    return figure, list(panels)


def one_panel(title: str, subtitle: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.2), dpi=150, facecolor="white")
    axes = figure.subplots()
    figure.subplots_adjust(left=0.095, right=0.965, top=0.82, bottom=0.125)
    write_titles(figure, title, subtitle)
    style(axes)
    return figure, axes


def write_titles(figure: Figure, title: str, subtitle: str) -> None:
    left, inch = figure.subplotpars.left, 1 / figure.get_figheight()
    figure.text(left, 1 - 0.28 * inch, title, fontsize=12.5, fontweight="bold", color=INK, va="center")
    figure.text(left, 1 - 0.52 * inch, subtitle, fontsize=8.5, color=INK, va="center", alpha=0.8)


def style(axes: Axes) -> None:
    """Only what helps to read: two edges and faint lines across."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=0)


def place(axes: Axes, text: str, x: float, y: float, colour: str, aligned: str) -> None:
    """A number over its point, on the side where its line is not: "left" of a falling line starts at the point."""
    aside = 2 if aligned == "left" else -2
    axes.annotate(text, (x, y), (aside, 5), textcoords="offset points", color=colour, fontsize=7.8, ha=aligned)
