from __future__ import annotations

from itertools import combinations

import pytest
from alexnet_build.insight.ceilings import Ceilings
from alexnet_build.insight.inspection import Inspection
from alexnet_build.insight.latency import Timing
from alexnet_build.insight.layers import Kind, Layer, TensorShape
from alexnet_build.insight.pictures import KIND_COLOURS, layers_figure, throughput_figure
from alexnet_build.insight.roofline import roofline_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

LAYERS: tuple[tuple[Kind, int, float], ...] = (
    ("conversion", 0, 0.5), ("convolution", 210, 8.0), ("pooling", 1, 0.3), ("convolution", 896, 20.0),
    ("pooling", 1, 0.2), ("convolution", 299, 7.0), ("convolution", 449, 10.5), ("convolution", 299, 7.0),
    ("pooling", 1, 0.001), ("fully connected", 75, 12.0), ("fully connected", 34, 6.0), ("softmax", 1, 0.001),
)  # fmt: skip


def layers(batch_size: int) -> tuple[Layer, ...]:
    """Names, work in MFLOP and times of something like AlexNet; all of them move 3 MB an image."""
    shape = (TensorShape((batch_size, 750, 1000), "FP32"),)
    return tuple(
        Layer(f"node {index}", kind, "", "FP32", shape, (), 0, batch_size * work * 10**6, batch_size * milliseconds)
        for index, (kind, work, milliseconds) in enumerate(LAYERS)
    )


def inspection(*, gpu: bool = False, sizes: tuple[int, ...] = (1, 32)) -> Inspection:
    return Inspection(
        source="a/path/with/$dollars$/" + "long/" * 20 + "model.onnx", engine="An engine 1.0", device="a processor",
        image_size=227, classes=3, repeats=5,
        timings=tuple(
            Timing(n, 60.0 * n, 70.0 * n, 1e6 / (60 + n), *((50.0 * n, 40.0 * n if n > 1 else None) if gpu else ()))
            for n in sizes
        ),
        layers={n: layers(n) for n in sizes}, memory={}, facts={},
        ceilings=Ceilings("measured", 10e9, {"FP32": 50e9, "TF32": 60e9}),
        published=Ceilings("published", 12.35e9, {"FP32": 55e9, "TF32": 80e9}) if gpu else None,
    )  # fmt: skip


def drawn(figure: Figure) -> dict[Text, Bbox]:
    """Every text that can be seen, and its place; all of them lie inside the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = {text for text in figure.findobj(Text) if text.get_visible() and text.get_text()}
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.get_loc() <= high:
                texts -= {tick.label1, tick.label2}
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts}
    for text, box in boxes.items():
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    return boxes


def assert_apart(boxes: dict[Text, Bbox]) -> None:
    for (one, box), (other, other_box) in combinations(boxes.items(), 2):
        assert not box.overlaps(other_box), (one, other)


@pytest.mark.parametrize("sizes", [(1, 32), (4,), (1, 8, 64)])
def test_layers_figure_has_a_bar_for_each_large_layer_at_both_ends(sizes: tuple[int, ...]) -> None:
    figure = layers_figure(inspection(sizes=sizes))
    assert_apart({text: box for text, box in drawn(figure).items() if not text.get_text().startswith("batch")})
    panels = figure.axes
    assert len(panels) == len({sizes[0], sizes[-1]})
    names = ["convert0", "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "4 others"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == names
    bars = panels[-1].patches
    assert [bar.get_width() for bar in bars] == pytest.approx(
        [sizes[-1] * t for t in (0.5, 8.0, 20.0, 7.0, 10.5, 7.0, 12.0, 6.0, 0.502)]
    )
    assert to_hex(bars[1].get_facecolor()) == KIND_COLOURS["convolution"]
    assert to_hex(bars[6].get_facecolor()) == KIND_COLOURS["fully connected"]
    title, where, _ = (text.get_text() for text in figure.texts)
    assert title.startswith("Time by layer: …")
    assert title.endswith("long/model.onnx")
    assert where == "An engine 1.0 on a processor"


def test_layers_figure_of_short_times_is_in_microseconds() -> None:
    short = inspection(sizes=(1,))
    quick = tuple(
        Layer(layer.name, layer.kind, "", "FP32", (), (), 0, 0, (layer.milliseconds or 0) / 1e3) for layer in layers(1)
    )
    (axes,) = layers_figure(Inspection(**{**short.__dict__, "layers": {1: quick}})).axes
    assert axes.get_xlabel() == "µs"
    assert axes.get_title(loc="left") == "batch 1: 71.5 µs"
    assert axes.texts[1].get_text() == "8.00 µs  11.2%"


@pytest.mark.parametrize("gpu", [False, True])
def test_roofline_figure_names_each_layer_beside_its_disc(gpu: bool) -> None:
    figure = roofline_figure(inspection(gpu=gpu))
    (axes,) = figure.axes
    boxes = drawn(figure)
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "softmax"]
    labels = {text: box for text, box in boxes.items() if text in axes.texts and text.get_text() in names}
    assert sorted(text.get_text() for text in labels) == sorted(names)
    written = {
        text: box for text, box in boxes.items() if "easured" in text.get_text() or "ublished" in text.get_text()
    }
    assert len(written) == (6 if gpu else 3)
    assert_apart(labels | written)
    centres = [tuple(collection.get_offsets()[0]) for collection in axes.collections]
    assert centres[2] == pytest.approx((896 / 3, 896e6 / 20e-3))
    for x, y in axes.transData.transform(centres):
        assert not any(box.contains(x, y) for box in (labels | written).values())
    explained = figure.texts[2].get_text()
    assert explained == "areas are shares of the time; 0.7% of the time computes nothing and is not shown"


def test_roofline_figure_has_its_ridge_where_memory_meets_arithmetic() -> None:
    (axes,) = roofline_figure(inspection()).axes
    slope, fp32, tf32 = axes.lines
    assert [tuple(line.get_xydata()[0]) for line in (fp32, tf32)] == [(5.0, 50e9), (6.0, 60e9)]
    assert tuple(slope.get_xydata()[-1]) == (6.0, 60e9)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("sizes", [(1, 8, 32, 64), (16,)])
def test_throughput_figure_has_a_line_for_each_way(gpu: bool, sizes: tuple[int, ...]) -> None:
    figure = throughput_figure(inspection(gpu=gpu, sizes=sizes))
    drawn(figure)
    left, right = figure.axes
    assert list(left.lines[0].get_ydata()) == pytest.approx([1e6 / (60 + n) for n in sizes])
    assert [label.get_text() for label in right.get_xticklabels()] == [str(n) for n in sizes]
    assert len(right.lines) == (3 if gpu else 1)
    if gpu:  # there is no graph for batch 1 here
        assert list(right.lines[2].get_xdata()) == [n for n in sizes if n > 1]
