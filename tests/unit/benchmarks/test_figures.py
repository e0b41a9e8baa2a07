"""What many measurements come down to; nothing is timed here."""

from __future__ import annotations

import pytest


@pytest.fixture
def figures(benchmark_module):
    return benchmark_module("figures")


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_percentile_is_the_nearest_rank_of_unsorted_values(figures, percent: float, expected: int) -> None:
    assert figures.percentile(list(range(100, 0, -1)), percent) == expected


def test_percentile_of_one_value_is_that_value(figures) -> None:
    assert figures.percentile([7.0], 99) == 7.0


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_percentile_refuses_no_values_and_impossible_percentages(figures, values, percent) -> None:
    with pytest.raises(ValueError, match="expected values"):
        figures.percentile(values, percent)


def test_spread_names_median_and_extremes(figures) -> None:
    assert figures.spread([4.0, 1.0, 3.0, 2.0]) == figures.Spread(count=4, min=1.0, p50=2.5, p99=4.0, max=4.0)
