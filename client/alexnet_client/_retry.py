"""One deadline for a whole call, and the pauses between its tries. Called by: the flows."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any

from ._calls import Call, Pause, Send
from ._config import FIRST_PAUSE_S, LONGEST_PAUSE_S
from ._errors import AlexNetClientError, DeadlineExceeded, ServerOverloaded

Step = Send | Pause
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


def send(call: Call, deadline: Deadline, retries: int) -> Generator[Step, Any, Any]:
    """Send ``call`` until it is answered; the reply.

    Only errors that are safe to try again are: a classification stands alone, a second one does no harm.

    Raises:
        DeadlineExceeded: The time is over.
        AlexNetClientError: What the server said, or the last error when the tries are used up.
    """
    attempt = 0
    last: AlexNetClientError | None = None
    while deadline.remaining_s > 0:
        try:
            return (yield Send(call, deadline.remaining_s))
        except DeadlineExceeded as error:
            raise deadline.exceeded(call.doing, last) from error
        except AlexNetClientError as error:
            attempt += 1
            if not error.safe_to_retry or (attempt > retries and not isinstance(error, ServerOverloaded)):
                raise
            last = error
        yield Pause(min(pause_s_before(attempt), deadline.remaining_s))
    raise deadline.exceeded(call.doing, last) from last
