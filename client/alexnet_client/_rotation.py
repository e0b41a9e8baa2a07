"""Which of a client's addresses is asked next, and which are left out for now.

In: what became of each request. Out: the address for the next one, and one line in the log when an address stops
answering and one when it answers again. Called by: both transports. Knows no gRPC.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ._errors import AlexNetClientError, ModelNotReady, ServerUnreachable, TLSFailed

# One request in so many seconds looks whether an address is back. The look costs next to nothing: it fails at
# once while gRPC, which reconnects by itself in pauses of its own, is not connected.
LOOK_AGAIN_S = 0.5

# So many deadlines in a row that pass without any answer are the server's fault rather than the deadlines'.
HANGS = 3

# What another server may well answer, although this one did not.
FAULTS_OF_ONE_SERVER = (ServerUnreachable, TLSFailed, ModelNotReady)

_log = logging.getLogger("alexnet_client")


@dataclass(slots=True, eq=False)
class Endpoint:
    """One address.

    Attributes:
        number: Its place in the list.
        url: The address as it was written.
        answering: None before the first answer or fault, then whether it answers.
        silent_since_s: When it stopped.
        look_again_s: When it may be asked again.
        overdue: How many requests in a row ended by their deadline, with no answer between them.
        era: How often it fell silent or came back. What a request of an earlier era tells is old news: answers and
            faults of one moment reach their threads in any order.
    """

    number: int
    url: str
    answering: bool | None = None
    silent_since_s: float = 0.0
    look_again_s: float = 0.0
    overdue: int = 0
    era: int = 0


class Rotation:
    """Addresses in turn, silent ones left out. Safe in threads; costs two additions while all is well.

    Args:
        urls: The addresses, at least one.
        now_s: The clock.
    """

    def __init__(self, urls: Sequence[str], now_s: Callable[[], float]) -> None:
        self._endpoints = [Endpoint(number, url) for number, url in enumerate(urls)]
        self._now_s = now_s
        self._turn = itertools.count()  # its next() is one step, whatever the number of threads
        self._silent: list[Endpoint] = []
        self._lock = threading.Lock()

    def next(self) -> tuple[Endpoint, int]:
        """The address for the next request, one that answers or a silent one whose time has come; and its era."""
        if len(self._endpoints) == 1:
            endpoint = self._endpoints[0]
        elif self._silent:
            with self._lock:
                endpoint = self._next_with_some_silent()
        else:
            endpoint = self._endpoints[next(self._turn) % len(self._endpoints)]
        return endpoint, endpoint.era

    def answered(self, endpoint: Endpoint, era: int) -> None:
        """The server at ``endpoint`` answered, be it with an error of the image."""
        endpoint.overdue = 0
        if endpoint.answering or era != endpoint.era:
            return
        with self._lock:
            if endpoint in self._silent:
                self._silent.remove(endpoint)
                endpoint.era += 1
                if self._worth_a_word(endpoint):
                    silent_s = self._now_s() - endpoint.silent_since_s
                    _log.warning("%s answers again, after %.1f s", endpoint.url, silent_s)
            endpoint.answering = True

    def failed(self, endpoint: Endpoint, era: int, error: AlexNetClientError) -> AlexNetClientError:
        """``error`` of a request to ``endpoint``; with ``elsewhere`` set if another address is worth a try."""
        if isinstance(error, FAULTS_OF_ONE_SERVER):
            with self._lock:
                if endpoint not in self._silent and era == endpoint.era:
                    self._fall_silent(endpoint, error)
                error.elsewhere = len(self._silent) < len(self._endpoints)
        elif error.status == "DEADLINE_EXCEEDED":  # said on this side, as the next one is
            self._overdue(endpoint, era, error)
        elif error.status != "CANCELLED":
            self.answered(endpoint, era)
        return error

    def _overdue(self, endpoint: Endpoint, era: int, error: AlexNetClientError) -> None:
        """A server that hangs is left out as well, as long as another one is left: one that is merely slow is not."""
        with self._lock:
            endpoint.overdue += 1
            others = len(self._endpoints) - len(self._silent) > 1
            if endpoint.overdue >= HANGS and others and endpoint not in self._silent and era == endpoint.era:
                self._fall_silent(endpoint, error)

    def _fall_silent(self, endpoint: Endpoint, error: AlexNetClientError) -> None:
        endpoint.silent_since_s = self._now_s()
        self._put_off(endpoint)
        self._silent.append(endpoint)
        endpoint.era += 1
        if self._worth_a_word(endpoint):
            others = len(self._endpoints) - len(self._silent)
            meanwhile = f"{others} of {len(self._endpoints)} addresses are left" if others else "nobody is left"
            # "could not classify an image at a:8001: ..." -> "...", for it is not about that image
            reason = error.message.partition(": ")[2] or error.message
            _log.warning("%s does not answer: %s; %s", endpoint.url, reason, meanwhile)
            endpoint.answering = False

    def _worth_a_word(self, endpoint: Endpoint) -> bool:
        """Not a single address that never answered: the caller gets that error itself, and nothing else."""
        return endpoint.answering is not None or len(self._endpoints) > 1

    def _put_off(self, endpoint: Endpoint) -> None:
        # jitter, so that many clients do not look at the same moment
        endpoint.look_again_s = self._now_s() + LOOK_AGAIN_S * random.uniform(0.5, 1.0)

    def _next_with_some_silent(self) -> Endpoint:
        soonest = min(self._silent, key=lambda endpoint: endpoint.look_again_s, default=None)
        if soonest is not None and soonest.look_again_s <= self._now_s():
            self._put_off(soonest)
            return soonest
        # where nobody is left, all are asked in turn
        answering = [endpoint for endpoint in self._endpoints if endpoint not in self._silent] or self._endpoints
        return answering[next(self._turn) % len(answering)]
