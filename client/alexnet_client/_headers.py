"""What travels beside a call: the bearer token, headers of the caller's own, the trace that the call is part of.

In: the client's settings, and the caller's OpenTelemetry context. Out: gRPC metadata. Called by: the transport,
once for every try; ``_config.py`` has the settings checked here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ._errors import InvalidSetting, Unauthorized

Token = str | Callable[[], str]
Metadata = tuple[tuple[str, str], ...]

AUTHORIZATION = "authorization"
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: "Header-Name" and "ASCII-Value"
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]+")


class Headers:
    """The metadata of every call of one client.

    Args:
        headers: The caller's own, names in any case.
        token: A bearer token, or a function that gives the one that is valid now.
    """

    def __init__(self, headers: Mapping[str, str] | None, token: Token | None) -> None:
        self._fixed = tuple((name.lower(), value) for name, value in (headers or {}).items())
        self._token = token if callable(token) else None
        if isinstance(token, str):
            self._fixed += ((AUTHORIZATION, f"Bearer {token}"),)

    def metadata(self) -> Metadata | None:
        """The headers of one call; None if there are none.

        Raises:
            Unauthorized: The token's function failed.
            InvalidSetting: It gave no token.
        """
        sent = self._fixed
        if self._token is not None:
            sent += ((AUTHORIZATION, f"Bearer {token_from(self._token)}"),)
        if "opentelemetry" in sys.modules:
            sent += _trace_context()
        return sent or None


def checked_headers(headers: Mapping[str, str]) -> None:
    """Refuse what gRPC would refuse at every call, or send as something else.

    Raises:
        InvalidSetting: A name or a value is not one of a header, or belongs to gRPC.
    """
    if not isinstance(headers, Mapping):
        raise InvalidSetting(f"headers is {type(headers).__name__}; expected a mapping from names to values")
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else ""
        if not _NAME.fullmatch(lower):
            raise InvalidSetting(f"the header name {name!r} cannot be sent; expected letters, digits, '-', '_', '.'")
        if lower.startswith("grpc-") or lower.endswith("-bin"):
            raise InvalidSetting(f"the header {name!r} is gRPC's own or a binary one; neither can be set")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise InvalidSetting(f"the value of the header {name!r} cannot be sent; expected printable ASCII text")


def checked_token(token: Any) -> str:
    """``token``, if it can be sent; no message quotes it.

    Raises:
        InvalidSetting: It is empty, or no text.
    """
    if not isinstance(token, str) or not _VALUE.fullmatch(token) or token != token.strip():
        came = "text that is empty or cannot be sent" if isinstance(token, str) else type(token).__name__
        raise InvalidSetting(f"the token is {came}; expected printable ASCII text")
    return token


def token_from(function: Callable[[], str]) -> str:
    """The token that is valid now.

    Raises:
        Unauthorized: The function failed, as one that asks another service may; the next call asks it again.
        InvalidSetting: What it gave is no token.
    """
    try:
        token = function()
    except Exception as error:
        raise Unauthorized(f"there is no token: its function raised {type(error).__name__}: {error}") from error
    return checked_token(token)


def carries_secret(headers: Mapping[str, str] | None, token: Token | None) -> bool:
    """Whether a call would carry a credential that a listener on the way could use."""
    return token is not None or any(name.lower() == AUTHORIZATION for name in headers or {})


def _trace_context() -> Metadata:
    """W3C ``traceparent`` and what else the caller's propagators send; nothing outside of a trace.

    Only where the program itself has OpenTelemetry loaded (https://www.w3.org/TR/trace-context/).
    """
    try:
        from opentelemetry.propagate import inject
    except ImportError:  # a module of that name that is not the API
        return ()
    carrier: dict[str, str] = {}
    inject(carrier)
    return tuple((name.lower(), value) for name, value in carrier.items())
