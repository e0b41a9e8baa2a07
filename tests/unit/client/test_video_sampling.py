"""Which frames are taken, and times as people write them."""

from __future__ import annotations

import math

import pytest
from alexnet_client import InvalidSetting
from alexnet_client._cli.video_sampling import Sampler, Sampling, clock, seconds_from_clock


def taken(sampling: Sampling, times_s: list[float], tick_s: float = 1e-6) -> list[float]:
    sampler = Sampler(sampling)
    return [time_s for time_s in times_s if sampler.takes(time_s, tick_s)]


def test_first_frame_of_every_second_is_taken() -> None:
    assert taken(Sampling(1.0), [i / 4 for i in range(12)]) == [0.0, 1.0, 2.0]


def test_picture_that_stands_still_is_taken_once() -> None:
    assert taken(Sampling(1.0), [0.0, 0.5, 9.5, 9.6, 10.0, 30.0]) == [0.0, 9.5, 10.0, 30.0]


def test_rate_of_the_video_takes_every_frame_though_times_are_rounded() -> None:
    times_s = [round(i / 30, 3) for i in range(90)]  # as Matroska writes them
    assert taken(Sampling(30.0), times_s, 0.001) == times_s


def test_one_frame_in_ten_seconds() -> None:
    assert taken(Sampling(0.1), [float(i) for i in range(25)]) == [0.0, 10.0, 20.0]


def test_every_frame_of_a_stretch() -> None:
    assert taken(Sampling(None, start_s=1.0, duration_s=1.0), [0.5, 0.999, 1.0, 1.5, 1.999, 2.0]) == [1.0, 1.5, 1.999]


def test_slots_begin_where_the_stretch_does() -> None:
    assert taken(Sampling(1.0, start_s=0.3), [i / 10 for i in range(25)]) == [0.3, 1.3, 2.3]


def test_end_of_a_stretch_without_length_is_the_end_of_the_video() -> None:
    assert Sampling(start_s=3.0).end_s == math.inf
    assert Sampling(start_s=3.0, duration_s=0.5).end_s == 3.5


@pytest.mark.parametrize("wrong", [{"fps": 0.0}, {"fps": math.inf}, {"fps": math.nan}, {"duration_s": 0.0}])
def test_sampling_that_cannot_be_meant_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting, match="expected"):
        Sampling(**wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("1:30", 90.0), ("01:02:03.5", 3723.5), ("0:05.", 5.0), (".5", 0.5), ("00:00:02.000000000", 2.0)],
)
def test_clock_times_are_read(text: str, seconds: float) -> None:
    assert seconds_from_clock(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:", "1:2:3:4", "99:99:1", "1m30", "nan"])
def test_other_text_is_no_time(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"expected seconds, M:SS or H:MM:SS"):
        seconds_from_clock(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00.000"), (59.9996, "1:00.000"), (3723.5, "1:02:03.500"), (-0.001, "0:00.000")]
)
def test_clock_is_rounded_once(seconds: float, text: str) -> None:
    assert clock(seconds) == text
