"""Settings of a client, checked where they enter. Every name and number that has a default has it here."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ._addresses import is_local
from ._errors import InvalidSetting
from ._headers import AUTHORIZATION, Token, carries_secret, checked_headers, checked_token
from ._tls import TLS

Compression = Literal["gzip", "deflate"]

DEFAULT_URL = "localhost:8001"
DEFAULT_MODEL = "classifier"
DEFAULT_DEADLINE_S = 30.0
DEFAULT_TOP_K = 5
DEFAULT_CONCURRENCY = 32  # one full batch of the server's default configuration
# Five more tries take about three seconds: long enough for a hiccup of the network, short enough that a wrong
# address is named while the person who typed it still looks.
DEFAULT_RETRIES = 5
LONGEST_S = 100_000_000
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

# The contract of the ensemble; the server's metadata is compared with it on first use.
IMAGE = "IMAGE"
PROBABILITIES = "PROBABILITIES"
EMBEDDINGS = "EMBEDDINGS"  # only where the repository was built with --embeddings


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was told.

    Attributes:
        url: One address, several separated by commas, or a gRPC target such as ``dns:///name:8001``.
        model: Name of the ensemble.
        model_version: Version to ask for; ``""`` for the one that the server chooses.
        deadline_s: Seconds for one call, tries and pauses included, where the call does not say otherwise.
        retries: Tries after the first one while the server is unreachable or the model not ready. A server
            that is merely overloaded is asked until the deadline.
        tls: How to speak TLS; True for ``TLS()``, False for a connection in the clear.
        token: Bearer token of every call, or a function that gives it.
        headers: Further headers of every call.
        compression: How requests are compressed, if they are.
        shared_memory: Hand images over in memory that the server, on the same host, has mapped.
    """

    url: str = DEFAULT_URL
    model: str = DEFAULT_MODEL
    model_version: str = ""
    deadline_s: float = DEFAULT_DEADLINE_S
    retries: int = DEFAULT_RETRIES
    tls: TLS | bool = False
    token: Token | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    compression: Compression | None = None
    shared_memory: bool = False

    def __post_init__(self) -> None:
        checked_seconds("deadline_s", self.deadline_s)
        if not self.model:
            raise InvalidSetting("model is empty; expected the name of the ensemble, such as 'classifier'")
        if self.model_version and not (self.model_version.isascii() and self.model_version.isdecimal()):
            raise InvalidSetting(f"model_version is {self.model_version!r}; expected digits, or '' for the newest")
        if not isinstance(self.retries, numbers.Integral) or isinstance(self.retries, bool) or self.retries < 0:
            raise InvalidSetting(f"retries is {self.retries!r}; expected a whole number from 0")
        self._check_connection()

    def _check_connection(self) -> None:
        if not isinstance(self.tls, TLS | bool):
            raise InvalidSetting(f"tls is {self.tls!r}; expected True, False or a TLS(...)")
        if self.token is not None and not callable(self.token):
            checked_token(self.token)
        if self.headers is not None:
            checked_headers(self.headers)
            if self.token is not None and any(name.lower() == AUTHORIZATION for name in self.headers):
                raise InvalidSetting("token and headers both set authorization; give one of them")
        if carries_secret(self.headers, self.token) and not self.tls and not is_local(self.url):
            raise InvalidSetting(
                f"a credential would travel to {self.url} in the clear; "
                "use tls=True, or tls=TLS(root_certificates=...) for a server with a certificate of its own"
            )
        if self.compression is not None and self.compression not in get_args(Compression):
            raise InvalidSetting(f"compression is {self.compression!r}; expected 'gzip', 'deflate' or None")


def checked_seconds(name: str, seconds: float) -> float:
    """``seconds``, if it is a number above 0 that clocks can add to what they show.

    Raises:
        InvalidSetting: It is not.
    """
    if not isinstance(seconds, numbers.Real) or not 0 < seconds <= LONGEST_S:  # NaN is not either
        raise InvalidSetting(f"{name} is {seconds!r}; expected seconds above 0, at most {LONGEST_S:,} (three years)")
    return float(seconds)


def checked_count(name: str, count: int) -> int:
    """``count``, if it is a whole number of at least 1.

    Raises:
        InvalidSetting: It is not.
    """
    if not isinstance(count, numbers.Integral) or isinstance(count, bool) or count < 1:
        raise InvalidSetting(f"{name} is {count!r}; expected a whole number of at least 1")
    return int(count)
