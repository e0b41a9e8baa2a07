"""One deadline for a whole call, and the pauses between its tries. Called by: the flows."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any

from ._admission import Traffic
from ._calls import Call, Pause, Send, Wait
from ._config import FIRST_PAUSE_S, LONGEST_PAUSE_S
from ._errors import AlexNetClientError, DeadlineExceeded, ServerOverloaded

Step = Send | Pause | Wait
"""What a flow yields: it is resumed with the reply, or with the error thrown into it."""


class Deadline:
    """A point in time, ``seconds`` from its making on.

    Args:
        seconds: How long from now.
        now_s: The clock.
        url: The address, for the message.
    """

    def __init__(self, seconds: float, now_s: Callable[[], float], *, url: str) -> None:
        self.seconds = seconds
        self.url = url
        self._now_s = now_s
        self._end_s = now_s() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._end_s - self._now_s())

    def exceeded(self, doing: str, cause: AlexNetClientError | None) -> DeadlineExceeded:
        """The error for a call that did not make it; it names the last thing that went wrong before."""
        message = f"could not {doing} at {self.url} within {self.seconds:.3g} s"
        if cause is not None and not isinstance(cause, DeadlineExceeded):
            message += f"; the last try failed: {cause.message}"
        return DeadlineExceeded(message, status="DEADLINE_EXCEEDED", url=self.url)


def pause_s_before(attempt: int) -> float:
    """Seconds to wait before retry ``attempt``, from 1: doubled each time, cut by up to half at random.

    The jitter keeps clients that failed together from coming back together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, "equal jitter").
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempt - 1, 16))
    return longest * random.uniform(0.5, 1.0)


def send(call: Call, deadline: Deadline, retries: int, traffic: Traffic | None = None) -> Generator[Step, Any, Any]:
    """Send ``call`` until it is answered; the reply.

    Only errors that are safe to try again are: a classification stands alone, a second one does no harm. With
    several addresses, the next one is asked at once.

    Args:
        call: What is asked.
        deadline: When it must be over.
        retries: Tries after the first one. A server that is merely overloaded is asked until the deadline.
        traffic: What this call shares with the others of its classifier; None for one that goes its own way.

    Raises:
        DeadlineExceeded: The time is over.
        AlexNetClientError: What the server said, or the last error when the tries are used up.
    """
    attempt = tries = 0
    last: AlexNetClientError | None = None
    while deadline.remaining_s > 0:
        try:
            if traffic is None:
                return (yield Send(call, deadline.remaining_s))
            reply = yield from _in_turn(call, deadline, traffic)
            traffic.outage = False
            return reply
        except DeadlineExceeded as error:
            if error.status == "UNAVAILABLE" and deadline.remaining_s > deadline.seconds / 10:
                raise  # a queue's own, shorter limit: the server's words say so
            raise deadline.exceeded(call.doing, last) from error
        except AlexNetClientError as error:
            last = error
        if last.elsewhere:
            continue
        attempt += 1
        tries += not isinstance(last, ServerOverloaded)
        if not _worth_another_try(last, tries, retries, traffic):
            raise last
        if traffic is not None and isinstance(last, ServerOverloaded):
            # while it takes others of this client, the limit is what slows them down, and this one need not wait long
            attempt = max(1, traffic.admission.refusals_in_a_row)
        yield Pause(min(pause_s_before(attempt), deadline.remaining_s))
    raise deadline.exceeded(call.doing, last) from last


def _worth_another_try(error: AlexNetClientError, tries: int, retries: int, traffic: Traffic | None) -> bool:
    """Whether to go on after the fault number ``tries``; what it says of an outage is kept for the others."""
    overloaded = isinstance(error, ServerOverloaded)
    if overloaded or not error.safe_to_retry:
        if traffic is not None:
            traffic.outage = False  # somebody answered
        return overloaded
    if tries <= retries and not (traffic is not None and traffic.outage):
        return True
    if traffic is not None and retries:  # a call that is meant to have one try tells nothing to the others
        traffic.outage = True
    return False


def _in_turn(call: Call, deadline: Deadline, traffic: Traffic) -> Generator[Step, Any, Any]:
    """Send ``call`` as soon as the limit on requests under way allows.

    Raises:
        ServerOverloaded: The server's queue is full, or there was no turn before the deadline.
        AlexNetClientError: What the server said.
    """
    admission = traffic.admission
    place = admission.enter()
    try:
        if place.turn is not None:
            yield Wait(place.turn, deadline.remaining_s)
            if not place.turn.done():
                raise admission.no_turn()
        reply = yield Send(call, deadline.remaining_s)
    except ServerOverloaded as error:
        admission.refused(place, error)
        raise
    else:
        admission.answered()
        return reply
    finally:
        admission.leave(place)
