"""Each layer against the ceilings of the machine: the roofline picture.

In: an ``Inspection``. Out: a matplotlib ``Figure``. Called by the report of ``alexnet-build inspect``.

Williams, Waterman, Patterson: Roofline: An Insightful Visual Performance Model for Multicore Architectures,
Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from alexnet_build.insight.ceilings import Ceilings
from alexnet_build.insight.inspection import Inspection
from alexnet_build.insight.layers import KINDS, Layer, short_names
from alexnet_build.insight.pictures import FAINT, INK, KIND_COLOURS, style, write_title
from alexnet_build.insight.units import with_prefix

_PALE_INK = "#7c8891"  # of what is published
_LARGEST_AREA = 700.0  # square points, for a layer that takes all of the time

#: Directions in which a label may stand from its point, and how far from its edge, in points.
_DIRECTIONS = [(1, 0), (0.7, 0.7), (0.7, -0.7), (-1, 0), (-0.7, 0.7), (-0.7, -0.7), (0, 1), (0, -1)]
_DISTANCES = (3, 10, 20, 32, 46, 60, 80)


def roofline_figure(inspection: Inspection) -> Figure:
    """Operations a second over operations a byte, at the largest batch size."""
    layers = inspection.layers[inspection.largest_batch]
    total = sum(layer.milliseconds or 0.0 for layer in layers)
    named = [
        (name, layer) for name, layer in zip(short_names(layers), layers, strict=True)
        if layer.intensity and layer.flops_per_s
    ]  # fmt: skip
    shown = [layer for _, layer in named]
    figure = Figure(figsize=(9, 5.8), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)  # so that texts can be measured
    axes = figure.add_axes((0.085, 0.085, 0.705, 0.765))
    _set_axes(axes, shown, [inspection.ceilings, inspection.published])
    places = [_draw_layer(axes, layer, total) for layer in shown]
    slopes = _draw_ceilings(axes, inspection, {layer.precision for layer in shown})
    _label(axes, [name for name, _ in named], places)
    kinds = {layer.kind for layer in shown}
    axes.legend(
        handles=[
            Line2D([], [], marker="o", linestyle="", color=KIND_COLOURS[kind], label=kind)
            for kind in KINDS if kind in kinds
        ] + slopes,
        frameon=False, fontsize=7, labelcolor=INK, loc="lower left", bbox_to_anchor=(1, 0), handletextpad=0.6,
        handlelength=1.4, borderpad=0,
    )  # fmt: skip
    rest = 1 - sum(layer.milliseconds or 0.0 for layer in shown) / total if total else 0.0
    left_out = f"; {rest:.1%} of the time computes nothing and is not shown" if rest >= 0.0005 else ""
    how = f"areas are shares of the time{left_out}"
    write_title(figure, f"Roofline at batch {inspection.largest_batch}", inspection, how)
    return figure


def _set_axes(axes: Axes, layers: Sequence[Layer], ceilings: Sequence[Ceilings | None]) -> None:
    """Logarithmic axes with room for every layer and every ridge."""
    intensities = [layer.intensity or 1.0 for layer in layers]
    rates = [layer.flops_per_s or 1.0 for layer in layers]
    roofs = [(peak, each.bytes_per_s) for each in ceilings if each is not None for peak in each.flops_per_s.values()]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(
        min(intensities, default=1) / 2, 4 * max([*intensities, *(peak / memory for peak, memory in roofs)], default=10)
    )
    axes.set_ylim(min(rates, default=1e9) / 3, 4 * max([*rates, *(peak for peak, _ in roofs)], default=1e12))
    axes.set_xlabel("operations a byte: what a layer computes over what it has to move", color=INK, fontsize=8)
    axes.set_ylabel("operations a second", color=INK, fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: with_prefix(value))
    style(axes)
    axes.tick_params(which="minor", length=0)


def _draw_layer(axes: Axes, layer: Layer, total: float) -> Bbox:
    """A disc whose area is the layer's share of the time; returns its place in pixels."""
    assert layer.intensity
    assert layer.flops_per_s
    area = max(_LARGEST_AREA * (layer.milliseconds or 0.0) / total, 9)
    axes.scatter(
        layer.intensity, layer.flops_per_s, area, color=KIND_COLOURS[layer.kind], alpha=0.8, linewidth=0, zorder=3
    )
    x, y = axes.transData.transform((layer.intensity, layer.flops_per_s))
    radius = math.sqrt(area / math.pi) * axes.figure.dpi / 72
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _draw_ceilings(axes: Axes, inspection: Inspection, precisions: Collection[str]) -> list[Line2D]:
    """Slopes of the memory and flat lines of the arithmetic; names the latter in the margin, returns the former."""
    slopes, named = [], []  # named: (peak, text, colour)
    for ceilings, whose, colour, ink, dashes in (
        (inspection.ceilings, "measured", INK, INK, "-"),
        (inspection.published, "published", FAINT, _PALE_INK, (0, (4, 3))),
    ):
        if ceilings is None:
            continue
        lowest, highest = axes.get_xlim()
        peaks = {n: peak for n, peak in ceilings.flops_per_s.items() if n in precisions or n in ("FP32", "TF32")}
        memory = ceilings.bytes_per_s
        ridge = max(peaks.values(), default=memory * highest) / memory
        label = f"memory {with_prefix(memory)}B/s, {whose}"
        (slope,) = axes.plot(
            [lowest, ridge], [lowest * memory, ridge * memory], color=colour, linewidth=1, linestyle=dashes, label=label
        )
        slopes.append(slope)
        for name, peak in peaks.items():
            axes.plot([peak / memory, highest], [peak, peak], color=colour, linewidth=1, linestyle=dashes)
            named.append((peak, f"{name} {with_prefix(peak)}FLOP/s, {whose}", ink))
    above = -math.inf
    for peak, text, ink in sorted(named):  # upwards, each at its line or just above the one below
        above = max(axes.transData.transform((1.0, peak))[1], above + 7.5 * axes.figure.dpi / 72)
        axes.annotate(
            text, (1, axes.transAxes.inverted().transform((0, above))[1]), (4, 0), xycoords="axes fraction",
            textcoords="offset points", va="center", fontsize=7, color=ink, annotation_clip=False,
        )  # fmt: skip
    return slopes


def _label(axes: Axes, names: Sequence[str], places: Sequence[Bbox]) -> None:
    """Write each name at the nearest place where it covers neither a disc nor another name."""
    pixels = axes.figure.dpi / 72
    frame, taken = axes.get_window_extent(), [*places]
    for name, place in zip(names, places, strict=True):
        x, y = (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2
        across, up = axes.transData.inverted().transform((x, y))
        text = axes.annotate(
            name, (across, up), (0, 0), textcoords="offset points", ha="center", va="center", fontsize=7.5, color=INK,
            zorder=4, path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
        size = text.get_window_extent()
        for distance, direction in ((each, towards) for each in _DISTANCES for towards in _DIRECTIONS):
            edge = [_sign(d) * place.width / 2 + d * distance * pixels for d in direction]  # of the text, towards us
            middle = [e + _sign(d) * s / 2 for e, d, s in zip(edge, direction, (size.width, size.height), strict=True)]
            left, bottom = x + middle[0] - size.width / 2, y + middle[1] - size.height / 2
            box = Bbox.from_bounds(left, bottom, size.width, size.height)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        text.xyann = (middle[0] / pixels, middle[1] / pixels)
        taken.append(box)
        if distance > _DISTANCES[1]:  # far from its disc: show whose it is
            axes.annotate(
                "", (across, up), (edge[0] / pixels, edge[1] / pixels), textcoords="offset points", zorder=2,
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
