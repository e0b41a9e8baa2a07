"""How many requests are under way at once, for a server that says that its queue is full.

In: what became of each request. Out: whether the next one may go, or waits for its turn. Called by: ``_retry.py``;
one ``Traffic`` for all calls of a classifier, whatever thread or task they come from. Knows no gRPC.

The limit is that of TCP: a little more with every answer, a good part less with a refusal (additive increase,
multiplicative decrease; Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in
computer networks", 1989). There is none before the first refusal; until then a request costs a set's add and discard.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from ._errors import AlexNetClientError, ServerOverloaded

# What is left of the limit after a refusal: CUBIC's factor (RFC 9438, section 4.6), gentler than the half of Reno,
# for Triton refuses without delay, so that a refusal tells of a small excess.
DECREASE = 0.7
# How much slower the limit grows where it was refused before: Triton 2.51 lets a queue that it has refused a request
# of wait for up to half a second (its batcher's own timeout), so a refusal costs everybody.
CAUTION = 0.1


@dataclass(slots=True, eq=False)
class Place:
    """One request, from before it is sent until it is answered.

    Attributes:
        turn: None for one that may be sent; otherwise done as soon as it may.
        era: How often the limit had been lowered when it was admitted.
    """

    turn: Future[None] | None = None
    era: int = 0


class Admission:
    """The limit on requests under way, and the requests that wait for it, first come, first served."""

    def __init__(self) -> None:
        self._limit = math.inf
        self._era = 0
        self._under_way: set[Place] = set()  # add, discard and len are one step each, also between threads
        self._waiting: deque[Place] = deque()
        self._lock = threading.Lock()
        self._reason = ""
        self._in_a_row = 0
        self._refused_at = math.inf

    @property
    def limit(self) -> float:
        """Requests that may be under way; infinite before the first refusal."""
        return self._limit

    @property
    def refusals_in_a_row(self) -> int:
        """How often the limit was lowered since the server last took a request."""
        return self._in_a_row

    def enter(self) -> Place:
        """A place for a request; to be left in any case."""
        place = Place()
        if self._limit == math.inf:
            self._under_way.add(place)
            return place
        with self._lock:
            if self._waiting or not self._has_room():
                place.turn = Future()
                self._waiting.append(place)
            else:
                self._admit(place)
        return place

    def leave(self, place: Place) -> None:
        """The request is over, or was given up while it waited."""
        self._under_way.discard(place)
        if self._limit == math.inf:
            return
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
            while self._waiting and self._has_room():
                following = self._waiting.popleft()
                self._admit(following)
                assert following.turn is not None
                following.turn.set_result(None)

    def answered(self) -> None:
        """The server took a request: the limit grows by one for as many answers as it has places.

        Only a limit that holds something back grows: one that is not reached says nothing of the server.
        """
        if self._limit == math.inf:
            return
        with self._lock:
            self._in_a_row = 0
            if self._waiting or not self._has_room():
                step = 1.0 if self._limit + 1 < self._refused_at else CAUTION
                self._limit += step / self._limit

    def refused(self, place: Place, error: AlexNetClientError) -> None:
        """The server's queue was full. Requests that were sent together lower the limit once."""
        with self._lock:
            if place not in self._under_way or place.era < self._era:
                return
            self._reason = error.message
            self._era += 1
            self._in_a_row += 1
            self._refused_at = min(self._limit, len(self._under_way))
            self._limit = max(1.0, self._refused_at * DECREASE)

    def no_turn(self) -> ServerOverloaded:
        """The error for a request whose turn did not come in time."""
        under_way = f"{len(self._under_way)} requests are under way, as many as the server seems to take"
        return ServerOverloaded(f"{under_way}; it refused more: {self._reason}", status="RESOURCE_EXHAUSTED")

    def _has_room(self) -> bool:
        return len(self._under_way) + 1 <= self._limit

    def _admit(self, place: Place) -> None:
        place.era = self._era
        self._under_way.add(place)


@dataclass(slots=True)
class Traffic:
    """What the calls of one classifier tell each other.

    Attributes:
        admission: How many may be under way.
        outage: Whether one has used up its tries because nobody answered: until somebody does, the others have
            one try each. So a server that dies costs the images that are left no waiting of their own.
    """

    admission: Admission = field(default_factory=Admission)
    outage: bool = False
