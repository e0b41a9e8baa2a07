"""The limit on requests under way: when there is one, how it moves, and who waits for it."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import threading
import time
from typing import Any

import pytest
from alexnet_client import AsyncClassifier, Classifier, DeadlineExceeded, ServerOverloaded
from alexnet_client import _calls as calls
from alexnet_client._admission import CAUTION, DECREASE, Admission, Place

GIVE_UP_S = 20
FULL = ServerOverloaded("the queue is full")


def entered(admission: Admission, count: int) -> list[Place]:
    return [admission.enter() for _ in range(count)]


def refuse(admission: Admission, place: Place) -> None:
    admission.refused(place, FULL)
    admission.leave(place)


def may_go(place: Place) -> bool:
    return place.turn is None or place.turn.done()


def test_there_is_no_limit_before_the_first_refusal() -> None:
    admission = Admission()
    assert all(may_go(place) for place in entered(admission, 1000))
    assert admission.limit == math.inf


def test_refusal_limits_to_a_part_of_what_was_under_way() -> None:
    admission = Admission()
    refuse(admission, entered(admission, 20)[0])
    assert admission.limit == pytest.approx(20 * DECREASE)


def test_refusals_of_requests_that_were_sent_together_lower_the_limit_once() -> None:
    admission = Admission()
    for place in entered(admission, 20)[:5]:
        refuse(admission, place)
    assert admission.limit == pytest.approx(20 * DECREASE)
    assert admission.refusals_in_a_row == 1


def test_limit_never_falls_below_one() -> None:
    admission = Admission()
    for _ in range(5):
        (place,) = entered(admission, 1)
        refuse(admission, place)
    assert admission.limit == 1.0
    assert admission.refusals_in_a_row == 5


def test_those_beyond_the_limit_go_in_the_order_they_came() -> None:
    admission = Admission()
    first = entered(admission, 10)
    refuse(admission, first[0])  # nine are under way, seven may be
    waiting = entered(admission, 3)
    assert [may_go(place) for place in waiting] == [False] * 3
    for place in first[1:4]:
        admission.leave(place)
    assert [may_go(place) for place in waiting] == [True, False, False]
    admission.leave(first[4])
    assert [may_go(place) for place in waiting] == [True, True, False]


def test_one_that_gives_up_while_it_waits_holds_nobody_up() -> None:
    admission = Admission()
    first = entered(admission, 2)
    refuse(admission, first[0])
    impatient, patient = entered(admission, 2)
    admission.leave(impatient)
    admission.leave(first[1])
    assert [may_go(impatient), may_go(patient)] == [False, True]


def test_limit_grows_by_one_for_a_round_of_answers_and_slowly_where_it_was_refused() -> None:
    admission = Admission()
    first = entered(admission, 10)
    refuse(admission, first[0])  # the limit is 7, refused was 10
    entered(admission, 1)  # somebody waits
    for _ in range(7):
        admission.answered()
    assert admission.limit == pytest.approx(7.9, abs=0.1)
    while admission.limit < 9:
        admission.answered()
    before = admission.limit
    admission.answered()
    assert admission.limit == pytest.approx(before + CAUTION / before)


def test_limit_that_nobody_reaches_does_not_grow() -> None:
    admission = Admission()
    first = entered(admission, 10)
    refuse(admission, first[0])
    for place in first[1:]:
        admission.leave(place)
    entered(admission, 1)
    admission.answered()
    assert admission.limit == pytest.approx(7.0)


def bounded(room: int) -> tuple[Any, list[int]]:
    """An answer to Infer that refuses when more than `room` are under way; how many that were, at most."""
    lock, counts = threading.Lock(), [0, 0]

    def answer(call: calls.Infer) -> list[bytes]:
        with lock:
            counts[0] += 1
            counts[1] += 1
            refused = counts[0] > room
        try:
            if refused:
                raise ServerOverloaded("the queue is full")
            held.wait(0.001)
            return [b"1.0:0:" + call.image_bytes]
        finally:
            with lock:
                counts[0] -= 1

    held = threading.Event()  # never set: a request takes a millisecond
    return answer, counts


def test_every_image_is_classified_by_a_server_that_takes_three_at_a_time(transport: Any) -> None:
    transport.on[calls.Infer], counts = bounded(3)
    transport.pause = lambda seconds: threading.Event().wait(seconds / 100)
    classifier = Classifier(transport=transport)
    results = list(classifier.classify_many([str(n).encode() for n in range(300)], top_k=1, concurrency=24))
    assert [result.predictions[0].label for result in results] == [str(n) for n in range(300)]
    assert classifier._state.traffic.admission.limit < 8
    assert counts[1] < 600  # without the limit, 21 of 24 would be refused each time


def full(admission: Admission) -> Place:
    """Lower the limit to one, and take the one place."""
    (place,) = entered(admission, 1)
    refuse(admission, place)
    return admission.enter()


def test_request_whose_turn_does_not_come_says_so_at_its_deadline(transport: Any) -> None:
    transport.now_s = time.monotonic
    classifier = Classifier("host:1", transport=transport)
    classifier.classify(b"first")  # which reads the metadata
    full(classifier._state.traffic.admission)
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 0.2 s; the last try failed: 1 requests .*: the queue is full"):
        classifier.classify(b"late", deadline_s=0.2)
    assert 0.2 <= time.monotonic() - started_s <= 0.22
    assert b"late" not in [call.image_bytes for call in transport.sent if isinstance(call, calls.Infer)]


def test_task_that_is_cancelled_while_it_waits_leaves_its_turn_to_the_next(async_transport: Any) -> None:
    async_transport.now_s = time.monotonic

    async def run() -> int:
        classifier = AsyncClassifier(transport=async_transport)
        await classifier.classify(b"first")
        admission = classifier._state.traffic.admission
        place = full(admission)
        cancelled = asyncio.ensure_future(classifier.classify(b"cancelled"))
        patient = asyncio.ensure_future(classifier.classify(b"patient"))
        while len(admission._waiting) < 2:
            await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        admission.leave(place)
        return len(await asyncio.wait_for(patient, GIVE_UP_S))

    assert asyncio.run(run()) == 3
    assert [c.image_bytes for c in async_transport.sent if isinstance(c, calls.Infer)] == [b"first", b"patient"]


def test_forked_process_does_not_wait_for_the_requests_of_its_parent(transport: Any) -> None:
    classifier = Classifier(transport=transport)
    full(classifier._state.traffic.admission)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=lambda: answers.put(len(classifier.classify(b"image", deadline_s=5))))
    child.start()
    child.join(GIVE_UP_S)
    assert child.exitcode == 0
    assert answers.get() == 3
