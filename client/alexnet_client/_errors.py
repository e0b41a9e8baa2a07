"""Every error that leaves this package; ``_statuses.py`` has the table from a gRPC status to one of them.

    AlexNetClientError
    ├── InvalidSetting      an argument of ours that cannot be meant (also a ValueError)
    ├── InvalidImage        the image is not one: missing, empty, unknown format, damaged
    ├── DeadlineExceeded    no answer in the time that the caller gave
    ├── Cancelled           the call was given up, or its client closed
    ├── ServerUnreachable   nobody answers at the address                     tried again
    ├── ServerOverloaded    the server's queue is full                        tried again
    ├── ServerFault         the server failed; the image is not to blame
    ├── TLSFailed           the two sides do not agree on TLS, or on a certificate
    ├── Unauthorized        the server wants a credential that was not sent
    ├── ModelNotFound       the server has no such model or version
    ├── ModelNotReady       the model is there but is not serving             tried again
    └── ProtocolMismatch    the model is not an image classifier as this client knows it

Raised by: every module of this package. Every message says what failed, then what to do next.
"""

# ruff: noqa: N818  the names say what happened, as grpc and httpx name theirs
from __future__ import annotations

from typing import ClassVar


class AlexNetClientError(Exception):
    """The root of the tree: catch this to catch everything that this package raises.

    Attributes:
        message: What failed, and what was expected; one line.
        hint: What to do next, often a command to type; may be empty.
        status: Name of the gRPC status it came from, such as ``"UNAVAILABLE"``; None for a local error.
        safe_to_retry: Whether the same call may succeed a moment later.
        elsewhere: Whether it may succeed at once, at another of the client's addresses.
    """

    safe_to_retry: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, status: str | None = None, url: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = (self.default_hint if hint is None else hint).replace("{url}", f" --url {url}" if url else "")
        self.status = status
        self.elsewhere = False

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class InvalidSetting(AlexNetClientError, ValueError):
    """An argument cannot be meant; refused before anything is sent."""


class InvalidImage(AlexNetClientError):
    """The image cannot be read or decoded. The same image fails again; other images do not."""


class DeadlineExceeded(AlexNetClientError):
    """No answer within ``deadline_s``."""

    default_hint = "Give it more time (deadline_s, --deadline) or look at the server: alexnet-client status{url}"


class Cancelled(AlexNetClientError):
    """The call was given up before its answer came."""


class ServerUnreachable(AlexNetClientError):
    """No server answers at the address."""

    safe_to_retry = True
    default_hint = (
        "Start one with: alexnet-server run --repository DIR; "
        "or wait for one with: alexnet-client wait{url} (the gRPC port, 8001 by default, not the HTTP port)"
    )


class ServerOverloaded(AlexNetClientError):
    """The server's queue is full; tried again until the deadline."""

    safe_to_retry = True
    default_hint = "Lower the concurrency (concurrency=, --concurrency) or allow more time (deadline_s, --deadline)"


class ServerFault(AlexNetClientError):
    """The server failed while it worked on the call."""

    default_hint = "Read the server's log; alexnet-client status{url} shows whether it still classifies"


class TLSFailed(AlexNetClientError):
    """No secure connection: the two sides do not agree on TLS, or one does not trust the other's certificate."""

    default_hint = "Compare tls=TLS(...) with the server's --grpc-use-ssl, --grpc-server-cert and --grpc-root-cert"


class Unauthorized(AlexNetClientError):
    """The server refuses the call without a credential, or with the one that was sent."""

    default_hint = (
        "Send what it asks for: headers={'triton-grpc-protocol-...': secret} for --grpc-restricted-protocol, "
        "token= for a bearer token; whoever runs the server has it"
    )


class ModelNotFound(AlexNetClientError):
    """The server has no model, or no version, of that name."""

    default_hint = "See what it serves with: alexnet-client status{url}"


class ModelNotReady(AlexNetClientError):
    """The model exists and is not serving: loading, unloaded, or its load failed."""

    safe_to_retry = True
    default_hint = "Wait for it with: alexnet-client wait{url}"


class ProtocolMismatch(AlexNetClientError):
    """The model does not take an encoded image and give labelled probabilities."""

    default_hint = "Name the ensemble with model=, and see what is served with: alexnet-client status{url}"
