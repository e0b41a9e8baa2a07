from __future__ import annotations

import pytest
from alexnet_client._cli.latency_plot import axis, axis_range, heights, histogram, latency_plot
from alexnet_client._cli.load import Load


def made(concurrency: int, latencies_s: list[float]) -> Load:
    return Load(concurrency, 1.0, sorted(latencies_s), {}, {}, 0.1)


@pytest.mark.parametrize(
    ("shortest", "longest", "expected"),
    [(0.0031, 0.047, (0.002, 0.05)), (0.01, 0.01, (0.01, 0.02)), (0.9, 1.1, (0.5, 2.0))],
)
def test_axis_range_reaches_to_round_numbers_around_the_values(
    shortest: float, longest: float, expected: tuple[float, float]
) -> None:
    assert axis_range(shortest, longest) == pytest.approx(expected)


def test_histogram_has_parts_of_equal_ratio_and_drops_nothing() -> None:
    assert histogram([1, 9, 10, 99, 100, 0.5, 5000], 1, 1000, 3) == [3, 2, 2]


def test_heights_show_the_smallest_count() -> None:
    assert heights([0, 1, 500, 1000]) == " ▁▄█"


def test_axis_has_a_label_where_there_is_room() -> None:
    assert axis(0.001, 0.1, 40) == "1 ms  2 ms    5 ms  10 ms         50 ms"


def test_plot_has_a_line_a_load_and_an_axis() -> None:
    title, *lines = latency_plot([made(1, [0.0015] * 9), made(32, [0.015] * 9)], 80)
    assert title == "how often an image took how long, at each concurrency:"
    one, many, below = lines
    assert (one.split(), many.split()) == (["1", "█"], ["32", "█"])
    assert one.index("█") < many.index("█")
    assert below.strip().startswith("1 ms")
    assert below.index("1 ms") < one.index("█") < below.index("2 ms")
    assert below.index("10 ms") < many.index("█")


def test_plot_is_left_out_without_images_or_without_room() -> None:
    assert latency_plot([], 80) == []
    assert latency_plot([made(1, [])], 80) == []
    assert latency_plot([made(1, [0.1])], 30) == []
