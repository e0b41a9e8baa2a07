"""Numbers as pictures: what is taken for what, the most confident mistakes, confidence against accuracy.

In: NumPy arrays. Out: matplotlib ``Figure``s, made without pyplot, so no global state and no window system is touched.
Called by: the report of ``alexnet-build evaluate``, and whatever else wants to show them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from alexnet_build.evaluation.metrics import CALIBRATION_BINS

INK, FAINT = "#22303c", "#c3ccd4"
BLUE, RED = "#6a9bc3", "#b5483a"

_MOST_NUMBERED = 25  # classes: beyond it, counts in the cells are too small to read
_MOST_LABELLED = 130  # classes: beyond it, names are too small to read


def confusion_figure(confusion: np.ndarray, labels: Sequence[str]) -> Figure:
    """What is taken for what: rows are the true classes, columns the first guesses, colours shares of the row.

    Args:
        confusion: (C, C) integers, photographs by true class and first guess. A row is drawn for each class that has
            photographs; where other classes are guessed too, their columns follow behind a line.
        labels: C names.
    """
    rows = np.flatnonzero(confusion.sum(1))
    columns = np.concatenate([rows, np.setdiff1d(np.flatnonzero(confusion.sum(0)), rows)])
    counts = confusion[np.ix_(rows, columns)]
    shares = counts / counts.sum(1, keepdims=True)
    row_names, column_names = ([shortened(labels[index], 24) for index in order] for order in (rows, columns))
    size = max(len(rows), len(columns))
    points = 8.0 if size <= _MOST_NUMBERED else 6.0
    figure, axes = _figure_with_cells(len(rows), len(columns), max(map(len, column_names)) * points)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="auto")
    figure.text(
        axes.get_position().x0, 1 - 0.26 / figure.get_figheight(),
        f"True class and first guess of {counts.sum():,} photographs", color=INK, fontsize=11, va="center",
    )  # fmt: skip
    axes.set_ylabel("true class", color=INK, fontsize=9)
    axes.set_xlabel("first guess", color=INK, fontsize=9)
    if size <= _MOST_LABELLED:
        axes.set_xticks(range(len(columns)), column_names, rotation=90, fontsize=points, parse_math=False)
        axes.set_yticks(range(len(rows)), row_names, fontsize=points, parse_math=False)
    else:
        axes.set_xticks(range(0, len(columns), 100))
        axes.set_yticks(range(0, len(rows), 100))
    if size <= _MOST_NUMBERED:
        for row, column in np.argwhere(counts):
            ink = "white" if shares[row, column] > 0.35 else INK
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=ink, fontsize=7.5)
    if len(columns) > len(rows):
        axes.axvline(len(rows) - 0.5, color=FAINT, linewidth=1.2)
    axes.tick_params(length=0, colors=INK, labelsize=points)
    axes.spines[:].set_color(FAINT)
    bar = figure.colorbar(image, cax=figure.add_axes(_beside(figure, axes)), ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0", "5 %", "20 %", "50 %", "100 %"], fontsize=7, color=INK)
    bar.ax.tick_params(length=0)
    bar.set_label("share of the true class", fontsize=8, color=INK)
    bar.ax.spines[:].set_visible(False)
    return figure


def misclassified_figure(images: np.ndarray, captions: Sequence[str]) -> Figure:
    """A grid of photographs, each with its caption below.

    Args:
        images: (M, S, S, 3) uint8, RGB; M may be 0.
        captions: M texts of a few short lines: what it shows, then what it was taken for.
    """
    columns = min(max(len(images), 3), 5)
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    tile, gap, top, edge = 1.75, 0.17 * lines + 0.14, 0.68, 0.15  # inches
    width = edge + columns * (tile + edge)
    height = top + math.ceil(len(images) / columns) * (tile + gap)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    title = "Mistaken most confidently" if len(images) else "No photograph was misclassified"
    figure.text(edge / width, 1 - 0.24 / height, title, color=INK, fontsize=11, va="center")
    if len(images):
        explained = "what it shows, then what it was taken for and with which probability"
        figure.text(edge / width, 1 - 0.47 / height, explained, color=INK, fontsize=8, va="center")
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        left, bottom = edge + column * (tile + edge), height - top - row * (tile + gap) - tile
        axes = figure.add_axes((left / width, bottom / height, tile / width, tile / height))
        axes.imshow(image, interpolation="antialiased")
        axes.set_axis_off()
        for number, line in enumerate(caption.split("\n")):
            axes.annotate(
                shortened(line, 28), (0, 0), (0, -3 - 11 * number), xycoords="axes fraction", va="top",
                textcoords="offset points", fontsize=7.5, color=RED if number else INK, annotation_clip=False,
                parse_math=False,
            )  # fmt: skip
    return figure


def reliability_figure(confidences: np.ndarray, correct: np.ndarray, calibration_error: float) -> Figure:
    """Accuracy against confidence in 15 bins, over a histogram of the confidences.

    The reliability diagram of Guo et al., On Calibration of Modern Neural Networks, ICML 2017, figure 1.

    Args:
        confidences: (M,) probabilities of the first guesses, 0 to 1.
        correct: (M,) bool, whether the first guess is the true class.
        calibration_error: Expected calibration error, 0 to 1, for the title.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, 0.94 / CALIBRATION_BINS
    counts = np.histogram(confidences, edges)[0]
    filled = counts > 0
    accuracies = np.histogram(confidences, edges, weights=correct.astype(float))[0][filled] / counts[filled]
    means = np.histogram(confidences, edges, weights=confidences)[0][filled] / counts[filled]
    figure = Figure(figsize=(5, 6.4), dpi=150, facecolor="white")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.subplots_adjust(left=0.14, right=0.96, top=0.87, bottom=0.085, hspace=0.08)
    upper.bar(middles[filled], accuracies, width, color=BLUE, label="accuracy")
    upper.bar(
        middles[filled], means - accuracies, width, accuracies, color=(RED, 0.3), edgecolor=RED, linewidth=0.8,
        label="gap to the mean confidence",
    )  # fmt: skip
    upper.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 4)), label="perfectly calibrated")
    upper.set_ylim(0, 1)
    upper.set_ylabel("accuracy", color=INK, fontsize=9)
    title = f"Confidence and accuracy of {len(confidences):,} photographs\ncalibration error {calibration_error:.3f}"
    figure.text(0.14, 0.975, title, color=INK, fontsize=11, va="top")
    upper.legend(
        frameon=False, fontsize=7.5, labelcolor=INK, loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3,
        borderaxespad=0.2, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    lower.bar(middles, counts / len(confidences), width, color=FAINT)
    lower.set_xlim(0, 1)
    lower.set_ylabel("photographs", color=INK, fontsize=9)
    lower.set_xlabel("confidence: the probability of the first guess", color=INK, fontsize=9)
    lower.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(labelcolor=INK, labelsize=8, length=3, color=FAINT)
    return figure


def shortened(text: str, longest: int) -> str:
    """Text of at most ``longest`` characters; the end of a longer one becomes an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _figure_with_cells(rows: int, columns: int, longest_label_points: float) -> tuple[Figure, Axes]:
    """A figure whose axes hold square cells, with room for the labels, a title and a colour bar."""
    most = max(rows, columns)
    # inches: large where there are few, and never too small for a label of 6 points, while there are labels
    cell = max(min(0.8, 3.2 / most), 0.5 - 0.016 * most, 0.145) if most <= _MOST_LABELLED else 10 / most
    left = bottom = 0.6 if most > _MOST_LABELLED else 0.42 + 0.0074 * longest_label_points
    wide, high = columns * cell, rows * cell
    width, height = left + max(wide, 3.2) + 1.0, bottom + high + 0.5
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    return figure, figure.add_axes((left / width, bottom / height, wide / width, high / height))


def _beside(figure: Figure, axes: Axes) -> tuple[float, float, float, float]:
    """The place of a colour bar: right of the axes, their height up to 3 inches."""
    place = axes.get_position()
    high = min(place.height, 3 / figure.get_figheight())
    return place.x1 + 0.18 / figure.get_figwidth(), place.y1 - high, 0.12 / figure.get_figwidth(), high
