"""Several addresses in turn: which is asked, which is left out, and what the log says."""

from __future__ import annotations

import logging

import pytest
from alexnet_client import DeadlineExceeded, InvalidImage, ServerUnreachable, TLSFailed
from alexnet_client._rotation import LOOK_AGAIN_S, Rotation

GONE = ServerUnreachable("connection refused", status="UNAVAILABLE")


class Clock:
    seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asked(rotation: Rotation, count: int) -> list[str]:
    return [rotation.next()[0].url for _ in range(count)]


def fail(rotation: Rotation, url: str) -> ServerUnreachable:
    """Ask until it is the turn of `url`, which does not answer."""
    while True:
        endpoint, era = rotation.next()
        if endpoint.url == url:
            error = ServerUnreachable("connection refused", status="UNAVAILABLE")
            rotation.failed(endpoint, era, error)
            return error
        rotation.answered(endpoint, era)


def test_addresses_are_asked_in_turn(clock: Clock) -> None:
    assert asked(Rotation(["a", "b", "c"], clock), 7) == ["a", "b", "c", "a", "b", "c", "a"]


@pytest.mark.parametrize("kind", [ServerUnreachable, TLSFailed])
def test_silent_address_is_left_out_and_the_others_are_worth_a_try(clock: Clock, kind: type) -> None:
    rotation = Rotation(["a", "b"], clock)
    error = kind("no", status="UNAVAILABLE")
    assert rotation.failed(*rotation.next(), error) is error
    assert error.elsewhere
    assert asked(rotation, 5) == ["b"] * 5


def hang(rotation: Rotation, url: str) -> None:
    """Ask until it is the turn of `url`, which does not answer in time."""
    while True:
        endpoint, era = rotation.next()
        if endpoint.url == url:
            rotation.failed(endpoint, era, DeadlineExceeded("late", status="DEADLINE_EXCEEDED"))
            return
        rotation.answered(endpoint, era)


def test_address_that_hangs_is_left_out_as_long_as_another_is_left(clock: Clock) -> None:
    rotation = Rotation(["a", "b"], clock)
    hang(rotation, "a")
    hang(rotation, "a")
    assert set(asked(rotation, 4)) == {"a", "b"}
    hang(rotation, "a")
    assert asked(rotation, 4) == ["b"] * 4
    for _ in range(5):
        hang(rotation, "b")
    assert asked(rotation, 4) == ["b"] * 4


def test_answer_between_two_deadlines_shows_that_an_address_does_not_hang(clock: Clock) -> None:
    rotation = Rotation(["a", "b"], clock)
    for _ in range(5):
        hang(rotation, "a")
        hang(rotation, "a")
        for _ in range(2):
            rotation.answered(*rotation.next())
    assert set(asked(rotation, 4)) == {"a", "b"}


def test_silent_address_is_asked_by_one_request_when_its_time_has_come(clock: Clock) -> None:
    rotation = Rotation(["a", "b"], clock)
    fail(rotation, "a")
    clock.seconds += LOOK_AGAIN_S
    assert asked(rotation, 4) == ["a", "b", "b", "b"]


def test_address_that_answers_again_takes_its_turn(clock: Clock) -> None:
    rotation = Rotation(["a", "b"], clock)
    fail(rotation, "a")
    clock.seconds += LOOK_AGAIN_S
    rotation.answered(*rotation.next())
    assert sorted(asked(rotation, 4)) == ["a", "a", "b", "b"]


def test_nobody_is_left_when_all_are_silent_and_they_are_asked_all_the_same(clock: Clock) -> None:
    rotation = Rotation(["a", "b"], clock)
    assert fail(rotation, "a").elsewhere
    assert not fail(rotation, "b").elsewhere
    assert set(asked(rotation, 6)) == {"a", "b"}


def test_single_address_is_never_left_out(clock: Clock) -> None:
    rotation = Rotation(["a"], clock)
    assert not fail(rotation, "a").elsewhere
    assert asked(rotation, 3) == ["a"] * 3


@pytest.mark.parametrize("error", [InvalidImage("no image", status="INVALID_ARGUMENT"), DeadlineExceeded("late")])
def test_error_of_an_image_or_of_the_time_does_not_speak_against_an_address(clock: Clock, error: Exception) -> None:
    rotation = Rotation(["a", "b"], clock)
    rotation.failed(*rotation.next(), error)  # type: ignore[arg-type]
    assert asked(rotation, 2) == ["b", "a"]


def test_log_has_one_line_when_an_address_stops_and_one_when_it_answers_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    rotation = Rotation(["a", "b"], clock)
    under_way = [rotation.next() for _ in range(20)]
    with caplog.at_level(logging.WARNING, "alexnet_client"):
        for request in under_way[::2]:
            rotation.failed(*request, GONE)
        clock.seconds += 3
        fail(rotation, "a")
        clock.seconds += 3
        rotation.answered(*rotation.next())
    assert [record.getMessage() for record in caplog.records] == [
        "a does not answer: connection refused; 1 of 2 addresses are left",
        "a answers again, after 6.0 s",
    ]


def test_news_of_a_request_from_before_does_not_count(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    rotation = Rotation(["a"], clock)
    rotation.answered(*rotation.next())
    early, late = rotation.next(), rotation.next()
    rotation.failed(*early, GONE)
    rotation.answered(*late)  # was answered before the server died, and reached its thread after
    assert [record.getMessage() for record in caplog.records] == [
        "a does not answer: connection refused; nobody is left"
    ]
    rotation.answered(*rotation.next())
    rotation.failed(*early, GONE)
    assert len(caplog.records) == 2


def test_single_address_that_never_answered_leaves_it_to_the_error(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    rotation = Rotation(["a"], clock)
    fail(rotation, "a")
    rotation.answered(*rotation.next())
    assert caplog.records == []
