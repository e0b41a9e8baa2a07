"""One deadline for a call, its tries and its pauses."""

from __future__ import annotations

from typing import Any

import pytest
from alexnet_client import (
    Classifier,
    DeadlineExceeded,
    InvalidImage,
    ModelNotReady,
    ServerFault,
    ServerOverloaded,
    ServerUnreachable,
)
from alexnet_client import _calls as calls
from alexnet_client._retry import pause_s_before


def client(transport: Any, **settings: Any) -> Classifier:
    return Classifier("host:8001", transport=transport, **settings)


@pytest.mark.parametrize("kind", [ServerUnreachable, ServerOverloaded, ModelNotReady])
def test_safe_error_is_tried_again_until_it_succeeds(transport: Any, kind: type) -> None:
    transport.fail(calls.Infer, kind("no"), kind("no"))
    assert len(client(transport).classify(b"image")) == 3
    assert [type(call) for call in transport.sent] == [calls.ReadMetadata, *[calls.Infer] * 3]
    assert len(transport.pauses_s) == 2


@pytest.mark.parametrize("kind", [InvalidImage, ServerFault])
def test_other_error_is_not_tried_again(transport: Any, kind: type) -> None:
    transport.fail(calls.Infer, kind("no"))
    with pytest.raises(kind, match="no"):
        client(transport).classify(b"image")
    assert transport.pauses_s == []


def test_unreachable_server_is_given_up_after_the_retries(transport: Any) -> None:
    transport.fail(calls.ReadMetadata, *[ServerUnreachable(f"try {n}") for n in range(9)])
    with pytest.raises(ServerUnreachable, match="try 2"):
        client(transport, retries=2).classify(b"image")
    assert len(transport.sent) == 3


def test_no_retries_means_one_try(transport: Any) -> None:
    transport.fail(calls.ReadMetadata, ServerUnreachable("no"))
    with pytest.raises(ServerUnreachable):
        client(transport, retries=0).classify(b"image")
    assert len(transport.sent) == 1


def test_overloaded_server_is_asked_until_the_deadline_and_not_beyond(transport: Any) -> None:
    def full(call: Any) -> Any:
        raise ServerOverloaded("the queue is full")

    transport.on[calls.Infer] = full
    started_s = transport.clock_s
    with pytest.raises(DeadlineExceeded, match=r"within 12 s; the last try failed: the queue is full"):
        client(transport, retries=0).classify(b"image", deadline_s=12)
    assert transport.clock_s - started_s == pytest.approx(12)
    assert len(transport.sent) > 6


def test_each_try_is_given_what_is_left_of_the_deadline(transport: Any) -> None:
    transport.seconds_a_call = 2.0
    transport.fail(calls.Infer, ServerUnreachable("no"))
    client(transport, deadline_s=10).classify(b"image")
    (pause_s,) = transport.pauses_s
    assert transport.timeouts_s == pytest.approx([10, 8, 6 - pause_s])


def test_deadline_of_the_call_replaces_that_of_the_client(transport: Any) -> None:
    client(transport, deadline_s=10).classify(b"image", deadline_s=0.5)
    assert transport.timeouts_s == [0.5, 0.5]


def test_deadline_error_of_the_transport_names_the_whole_deadline(transport: Any) -> None:
    transport.fail(calls.Infer, DeadlineExceeded("of one try"))
    with pytest.raises(DeadlineExceeded, match="could not classify an image at host:8001 within 30 s"):
        client(transport).classify(b"image")


@pytest.mark.parametrize(
    ("attempt", "longest_s"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.6), (6, 2.0), (5000, 2.0)]
)
def test_pauses_double_up_to_two_seconds_with_jitter_of_half(attempt: int, longest_s: float) -> None:
    pauses_s = {pause_s_before(attempt) for _ in range(200)}
    assert longest_s / 2 <= min(pauses_s) < max(pauses_s) <= longest_s
    assert len(pauses_s) > 100


def test_other_address_is_asked_at_once_and_without_counting_as_a_retry(transport: Any) -> None:
    gone = ServerUnreachable("one of two")
    gone.elsewhere = True
    transport.fail(calls.Infer, gone)
    assert len(client(transport, retries=0).classify(b"image")) == 3
    assert transport.pauses_s == []


def test_calls_after_one_that_used_up_its_tries_have_one_try_until_somebody_answers(transport: Any) -> None:
    classifier = client(transport, retries=2)
    classifier.classify(b"image")
    transport.sent.clear()
    transport.fail(calls.Infer, *[ServerUnreachable("no")] * 5)
    for tries in (3, 1, 1):
        with pytest.raises(ServerUnreachable):
            classifier.classify(b"image")
        assert len(transport.sent) == tries
        transport.sent.clear()
    classifier.classify(b"image")
    transport.fail(calls.Infer, *[ServerUnreachable("no")] * 2)
    classifier.classify(b"image")
    assert len(transport.sent) == 1 + 3


def test_call_that_is_meant_to_have_one_try_leaves_the_others_theirs(transport: Any) -> None:
    classifier = client(transport, retries=2)
    transport.fail(calls.Infer, ServerUnreachable("no"))
    assert classifier.status().fault == "no"  # its test image
    transport.fail(calls.Infer, ServerUnreachable("no"))
    assert len(classifier.classify(b"image")) == 3


def test_queue_with_a_shorter_limit_than_the_deadline_has_its_own_words(transport: Any) -> None:
    transport.fail(calls.Infer, DeadlineExceeded("Request timeout expired", status="UNAVAILABLE"))
    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        client(transport).classify(b"image")


def test_error_of_an_image_ends_an_outage(transport: Any) -> None:
    classifier = client(transport, retries=1)
    classifier.classify(b"image")
    transport.fail(calls.Infer, *[ServerUnreachable("no")] * 2, InvalidImage("no image"), ServerUnreachable("no"))
    for kind in (ServerUnreachable, InvalidImage):
        with pytest.raises(kind):
            classifier.classify(b"image")
    assert len(classifier.classify(b"image")) == 3


def test_refused_request_waits_longer_only_while_the_server_takes_no_other_either(transport: Any) -> None:
    transport.fail(calls.Infer, *[ServerOverloaded("full")] * 4)
    classifier = client(transport)
    classifier.classify(b"image")
    *_, fourth_s = transport.pauses_s
    assert 0.4 <= fourth_s <= 0.8
    transport.fail(calls.Infer, ServerOverloaded("full"))
    classifier.classify(b"image")
    assert 0.05 <= transport.pauses_s[-1] <= 0.1
