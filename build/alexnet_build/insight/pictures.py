"""Numbers as pictures: bars of time by layer, and throughput and latency over the batch size.

In: an ``Inspection``. Out: matplotlib ``Figure``s, made without pyplot, so no global state and no window system is
touched. Called by the report of ``alexnet-build inspect``; ``roofline`` has the third picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from alexnet_build.insight.inspection import Inspection
from alexnet_build.insight.layers import KINDS, Kind, short_names
from alexnet_build.insight.units import three_digits, time_unit

INK, FAINT = "#22303c", "#c3ccd4"
KIND_COLOURS: dict[Kind, str] = {
    "convolution": "#6a9bc3", "fully connected": "#b5483a", "pooling": "#7d9e5e", "normalisation": "#9a7bb0",
    "activation": "#d6a03d", "softmax": "#3f7f78", "conversion": "#9aa5ae", "other": "#5b5149",
}  # fmt: skip

_SMALL = 0.005  # share of the time below which a layer is one of the others


def layers_figure(inspection: Inspection) -> Figure:
    """Time by layer in the order of execution, at the smallest and at the largest batch size."""
    sizes = sorted({min(inspection.layers), max(inspection.layers)})
    times = {size: inspection.milliseconds(size) for size in sizes}
    totals = {size: sum(times[size].values()) for size in sizes}
    layers = inspection.layers[sizes[-1]]
    large = [any(times[size].get(layer.name, 0.0) >= _SMALL * totals[size] for size in sizes) for layer in layers]
    shown, others = list(compress(layers, large)), [layer for layer, is_ in zip(layers, large, strict=True) if not is_]
    labels = [*compress(short_names(layers), large)] + (
        [f"{len(others)} other{'s' * (len(others) > 1)}"] if others else []
    )
    kinds: list[Kind] = [layer.kind for layer in shown] + (["other"] if others else [])
    height = 1.5 + 0.26 * len(labels)
    figure = Figure(figsize=(9.5 if len(sizes) > 1 else 7.2, height), dpi=150, facecolor="white")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(
        left=0.95 / figure.get_figwidth(), right=0.985, top=1 - 1.1 / height, bottom=0.4 / height, wspace=0.06
    )
    for axes, size in zip(panels, sizes, strict=True):
        spent = [times[size].get(layer.name, 0.0) for layer in shown]
        spent += [sum(times[size].get(layer.name, 0.0) for layer in others)] if others else []
        _bars(axes, spent, [KIND_COLOURS[kind] for kind in kinds], f"batch {size}: ")
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
    panels[0].invert_yaxis()
    entries = [Patch(color=KIND_COLOURS[kind], label=kind) for kind in KINDS if kind in kinds]
    write_title(figure, "Time by layer", inspection, f"medians of {inspection.repeats} runs, layer by layer")
    figure.legend(
        handles=entries, ncols=len(entries), frameon=False, fontsize=7.5, labelcolor=INK, handlelength=0.9,
        loc="center right", bbox_to_anchor=(1, 1 - 0.64 / height), columnspacing=1.2, handletextpad=0.4,
    )  # fmt: skip
    return figure


def throughput_figure(inspection: Inspection) -> Figure:
    """Images a second, and milliseconds a batch, over the batch size."""
    figure = Figure(figsize=(9, 3.9), dpi=150, facecolor="white")
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.08, right=0.985, top=0.745, bottom=0.125, wspace=0.22)
    timings = inspection.timings
    sizes = [timing.batch_size for timing in timings]
    left.plot(sizes, [timing.images_per_s for timing in timings], "o-", color=KIND_COLOURS["convolution"])
    for timing in timings:
        left.annotate(
            three_digits(timing.images_per_s), (timing.batch_size, timing.images_per_s), (-4, 5), color=INK,
            fontsize=7.5, textcoords="offset points", ha="right",
        )  # fmt: skip
    left.set_title("images/s, several batches in flight", color=INK, fontsize=9, loc="left")
    left.set_ylim(0, 1.18 * max(timing.images_per_s for timing in timings))
    left.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    medians, tails = [timing.p50_ms for timing in timings], [timing.p99_ms for timing in timings]
    right.fill_between(sizes, medians, tails, color=KIND_COLOURS["convolution"], alpha=0.25, linewidth=0)
    right.plot(sizes, medians, "o-", color=KIND_COLOURS["convolution"], label="host to host: median, and up to 99 %")
    for label, colour, times in (
        ("on the GPU, kernel by kernel", KIND_COLOURS["fully connected"], [timing.device_ms for timing in timings]),
        ("on the GPU, one CUDA graph", KIND_COLOURS["pooling"], [timing.graph_ms for timing in timings]),
    ):
        measured = [(size, time) for size, time in zip(sizes, times, strict=True) if time is not None]
        if measured:
            right.plot(*zip(*measured, strict=True), "o-", color=colour, label=label)
    right.set_yscale("log")
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    right.set_title("ms a batch", color=INK, fontsize=9, loc="left")
    right.legend(frameon=False, fontsize=7.5, labelcolor=INK, loc="upper left")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlim(sizes[0] / 2, sizes[-1] * 1.2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("batch size", color=INK, fontsize=8)
        style(axes)
    write_title(figure, "Throughput and latency", inspection, f"{inspection.repeats} batches of each size")
    return figure


def write_title(figure: Figure, title: str, inspection: Inspection, how: str) -> None:
    """What is shown, of what, where it was measured, and how; at the top left, 0.75 inches high."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    source = inspection.source if len(inspection.source) <= 60 else f"…{inspection.source[-59:]}"
    texts = (f"{title}: {source}", f"{inspection.engine} on {inspection.device}", how)
    for text, size, down in zip(texts, (11, 8, 8), (0.22, 0.46, 0.64), strict=True):
        figure.text(0.12 / width, 1 - down / height, text, color=INK, fontsize=size, va="center", parse_math=False)


def style(axes: Axes) -> None:
    """Faint lines, small ticks, no frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", labelcolor=INK, labelsize=8, length=3, color=FAINT)


def _bars(axes: Axes, milliseconds: Sequence[float], colours: Sequence[str], title: str) -> None:
    scale, unit = time_unit(sum(milliseconds))
    times = [scale * each for each in milliseconds]
    total = sum(times)
    axes.barh(range(len(times)), times, 0.74, color=colours)
    for row, time in enumerate(times):
        axes.annotate(
            f"{three_digits(time)} {unit}  {time / total:.1%}", (time, row), (3, 0), textcoords="offset points",
            va="center", fontsize=7, color=INK,
        )  # fmt: skip
    axes.set_xlim(0, 1.34 * max(times))  # room for the longest bar's label
    axes.set_xlabel(unit, color=INK, fontsize=8, labelpad=1)
    axes.set_title(f"{title}{three_digits(total)} {unit}", color=INK, fontsize=9, loc="left")
    style(axes)
    axes.tick_params(axis="y", length=0)
