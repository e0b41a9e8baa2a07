from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from alexnet_build.evaluation.pictures import confusion_figure, misclassified_figure, reliability_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def assert_readable(figure: Figure) -> None:
    """Every text lies inside the figure, and no two labels of an axis overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in (axes for axes in figure.axes if axes.axison):
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [label.get_window_extent(renderer) for label in axis.get_ticklabels() if label.get_text()]
            assert not any(one.overlaps(other) for one, other in pairwise(boxes))
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts, axes.xaxis.label, *figure.texts):
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= figure.bbox.width
            assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize("classes", [2, 3, 17, 101])
def test_confusion_figure_is_readable(classes: int) -> None:
    labels = [f"class {index} of $a$ name" for index in range(classes)]
    confusion = np.diag(np.arange(1, classes + 1))
    confusion[0, 1] = 1000
    figure = confusion_figure(confusion, labels)
    assert_readable(figure)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == labels
    numbers = [int(text.get_text()) for text in axes.texts]
    assert sorted(numbers) == ([*range(1, classes + 1), 1000] if classes <= 25 else [])


def test_confusion_figure_of_a_thousand_classes_has_no_names() -> None:
    figure = confusion_figure(np.eye(1000, dtype=int), [f"class {index}" for index in range(1000)])
    assert_readable(figure)
    assert not any("class" in text.get_text() for text in figure.axes[0].get_yticklabels())


def test_confusion_figure_leaves_out_classes_that_do_not_occur() -> None:
    confusion = np.zeros((101, 101), int)
    confusion[40, 40], confusion[70, 70], confusion[70, 3] = 4, 3, 1
    axes = confusion_figure(confusion, [str(index) for index in range(101)]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["40", "70"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["40", "70", "3"]  # what has no photographs last
    np.testing.assert_allclose(axes.images[0].get_array(), [[1, 0, 0], [0, 0.75, 0.25]])


@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_misclassified_figure_has_a_place_for_each_photograph(count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    figure = misclassified_figure(images, [f"the $true$ class\n→ {'x' * 60}"] * count)
    assert_readable(figure)
    assert len(figure.axes) == count
    captions = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in combinations(captions, 2))
    for axes, image in zip(figure.axes, images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    assert figure.texts[0].get_text() == ("Mistaken most confidently" if count else "No photograph was misclassified")


def test_reliability_figure_shows_accuracy_by_bin() -> None:
    confidences = np.array([0.95, 0.97, 1.0, 0.97, 0.5, 0.5])
    correct = np.array([True, True, True, False, False, True])
    figure = reliability_figure(confidences, correct, 0.125)
    assert_readable(figure)
    upper, lower = figure.axes
    bars, gaps = upper.containers
    assert [bar.get_height() for bar in bars] == [0.5, 0.75]
    assert [bar.get_y() + bar.get_height() for bar in gaps] == pytest.approx([0.5, 0.9725])  # the mean confidences
    assert [bar.get_height() for bar in lower.containers[0] if bar.get_height()] == pytest.approx([2 / 6, 4 / 6])
    assert "calibration error 0.125" in figure.texts[0].get_text()
