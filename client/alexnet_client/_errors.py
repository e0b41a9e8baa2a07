"""Every error that leaves this package, and the one table that turns a gRPC status into one of them.

    AlexNetClientError
    ├── InvalidSetting      an argument of ours that cannot be meant (also a ValueError)
    ├── InvalidImage        the image is not one: missing, empty, unknown format, damaged
    ├── DeadlineExceeded    no answer in the time that the caller gave
    ├── Cancelled           the call was given up, or its client closed
    ├── ServerUnreachable   nobody answers at the address                     tried again
    ├── ServerOverloaded    the server's queue is full                        tried again
    ├── ServerFault         the server failed; the image is not to blame
    ├── Unauthorized        the server wants a credential that was not sent
    ├── ModelNotFound       the server has no such model or version
    ├── ModelNotReady       the model is there but is not serving             tried again
    └── ProtocolMismatch    the model is not an image classifier as this client knows it

Raised by: every module of this package. Every message says what failed, then what to do next.
"""

# ruff: noqa: N818  the names say what happened, as grpc and httpx name theirs
from __future__ import annotations

import re
from typing import ClassVar


class AlexNetClientError(Exception):
    """The root of the tree: catch this to catch everything that this package raises.

    Attributes:
        message: What failed, and what was expected; one line.
        hint: What to do next, often a command to type; may be empty.
        status: Name of the gRPC status it came from, such as ``"UNAVAILABLE"``; None for a local error.
        safe_to_retry: Whether the same call may succeed a moment later.
    """

    safe_to_retry: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, status: str | None = None, url: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = (self.default_hint if hint is None else hint).replace("{url}", f" --url {url}" if url else "")
        self.status = status

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


class Unauthorized(AlexNetClientError):
    """The server refuses the call without a credential."""

    default_hint = "The server restricts this protocol (--grpc-restricted-protocol); ask whoever runs it"


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


# Every status of https://grpc.io/docs/guides/status-codes/ has its row here, or a test fails.
ERROR_FROM_STATUS: dict[str, type[AlexNetClientError]] = {
    "OK": ServerFault,  # an error that claims success
    "CANCELLED": Cancelled,
    "UNKNOWN": ServerFault,
    "INVALID_ARGUMENT": InvalidImage,  # the names and shapes of the tensors were compared before
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": ModelNotFound,
    "ALREADY_EXISTS": ServerFault,
    "PERMISSION_DENIED": Unauthorized,
    "RESOURCE_EXHAUSTED": ServerOverloaded,
    "FAILED_PRECONDITION": ModelNotReady,
    "ABORTED": ServerFault,
    "OUT_OF_RANGE": ServerFault,
    "UNIMPLEMENTED": ProtocolMismatch,
    "INTERNAL": ServerFault,
    "UNAVAILABLE": ServerUnreachable,
    "DATA_LOSS": ServerFault,
    "UNAUTHENTICATED": Unauthorized,
}

# Where Triton means something narrower than its status says, its words decide.
ERROR_FROM_WORDS: tuple[tuple[str, str, type[AlexNetClientError]], ...] = (
    ("UNAVAILABLE", "Exceeds maximum queue size", ServerOverloaded),
    ("UNAVAILABLE", "timeout expired", DeadlineExceeded),
    ("UNAVAILABLE", "protocol is restricted", Unauthorized),
    ("UNAVAILABLE", "not at ready state", ModelNotReady),
    ("UNAVAILABLE", "not ready", ModelNotReady),
    ("NOT_FOUND", "has no available versions", ModelNotReady),
    ("RESOURCE_EXHAUSTED", "larger than max", InvalidImage),
    ("INVALID_ARGUMENT", "unexpected inference", ProtocolMismatch),
    ("INVALID_ARGUMENT", "unexpected shape", ProtocolMismatch),
    ("INVALID_ARGUMENT", "version string", ProtocolMismatch),
)

# "in ensemble 'classifier', [request id: <id_unknown>] Exceeds ..." -> "Exceeds ...", and gRPC's own
# "connections to all backends failing; last error: UNKNOWN: ipv4:..." -> "ipv4:..."
_PREFIXES = re.compile(
    r"^(in ensemble '[^']*', ?|\[request id: [^\]]*\] ?|[^:]*failing; last error: |failed to connect to all "
    r"addresses; last error: |UNKNOWN: |UNAVAILABLE: )+"
)


def error_from_status(status: str, details: str | None, *, doing: str, url: str) -> AlexNetClientError:
    """The error for a failed call.

    Args:
        status: Name of the gRPC status code.
        details: The server's words, as they came.
        doing: What was being done, such as ``"classify an image"``.
        url: The address as the caller gave it, for the message and the hint.
    """
    words = _PREFIXES.sub("", " ".join((details or "").split())).replace("%5B", "[").replace("%5D", "]")
    kind = ERROR_FROM_STATUS.get(status, ServerFault)
    kind = next((k for code, part, k in ERROR_FROM_WORDS if code == status and part in words), kind)
    if kind is InvalidImage:  # the server names the image and the reason; nothing of ours makes that clearer
        return kind(words or "the server refused the image", status=status, url=url)
    return kind(f"could not {doing} at {url}: {words or status} ({status})", status=status, url=url)
