"""The tables that turn a gRPC status into an error: by its code, by Triton's and gRPC's words, with what to do.

In: a status code's name and its details. Out: one error of the tree in ``_errors.py``. Called by: the transports.
"""

from __future__ import annotations

import re

from ._errors import (
    AlexNetClientError,
    Cancelled,
    DeadlineExceeded,
    InvalidImage,
    ModelNotFound,
    ModelNotReady,
    ProtocolMismatch,
    ServerFault,
    ServerOverloaded,
    ServerUnreachable,
    TLSFailed,
    Unauthorized,
)
from ._tls import TLS

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
    # gRPC's own words, and BoringSSL's
    ("UNAVAILABLE", "handshake failed", TLSFailed),
    ("UNAVAILABLE", "CERTIFICATE_VERIFY_FAILED", TLSFailed),
    ("UNAVAILABLE", "Hostname Verification Check failed", TLSFailed),
    ("NOT_FOUND", "has no available versions", ModelNotReady),
    ("RESOURCE_EXHAUSTED", "larger than max", InvalidImage),
    ("INVALID_ARGUMENT", "unexpected inference", ProtocolMismatch),
    ("INVALID_ARGUMENT", "unexpected shape", ProtocolMismatch),
    ("INVALID_ARGUMENT", "version string", ProtocolMismatch),
)

# What to do about a connection that did not come about: gRPC's words, whether TLS is spoken, whether this client
# shows a certificate (None: either), and the hint. A server that hangs up on a stranger gives no reason: in the
# clear that is what a TLS port does, in TLS what one does that wants another certificate, or any. (The words of a call
# that was under way have no address before them.)
HINT_FROM_WORDS: tuple[tuple[str, bool | None, bool | None, str], ...] = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        True,
        None,
        "The server's certificate is out of date, or its authority is not among those that are trusted: name the "
        "file of its authority, tls=TLS(root_certificates='ca.pem')",
    ),
    (
        "Hostname Verification Check failed",
        True,
        None,
        "The server's certificate is for another name: use an address that it has, or tls=TLS(server_name='...')",
    ),
    (
        "WRONG_VERSION_NUMBER",
        True,
        None,
        "The server does not speak TLS at this port: leave tls= out, or use the port that does",
    ),
    (
        ": Socket closed",
        False,
        None,
        "The server hung up: it may have ended, or speak TLS at this port, which wants tls=TLS(root_certificates=...)",
    ),
    (
        ": Socket closed",
        True,
        False,
        "The server hung up: it may have ended, or want a certificate of its clients, "
        "tls=TLS(client_key=..., client_certificate=...)",
    ),
    (
        ": Socket closed",
        True,
        True,
        "The server hung up: it may have ended, or not trust the authority of client_certificate",
    ),
)

# "in ensemble 'classifier', [request id: <id_unknown>] Exceeds ..." -> "Exceeds ...", and gRPC's own
# "connections to all backends failing; last error: UNKNOWN: ipv4:..." -> "ipv4:..."
_PREFIXES = re.compile(
    r"^(in ensemble '[^']*', ?|\[request id: [^\]]*\] ?|[^:]*failing; last error: |failed to connect to all "
    r"addresses; last error: |UNKNOWN: |UNAVAILABLE: )+"
)
# "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:
# CERTIFICATE_VERIFY_FAILED: self signed certificate: OK" -> "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: ..."
_NOISE = re.compile(
    r" \(TSI_\w+\)|SSL_ERROR_SSL: error:\w+:SSL routines:OPENSSL_internal:|: Invalid certificate verification context|"
    r": OK$"
)


def error_from_status(
    status: str, details: str | None, *, doing: str, url: str, tls: TLS | bool = False
) -> AlexNetClientError:
    """The error for a failed call.

    Args:
        status: Name of the gRPC status code.
        details: The server's words, as they came.
        doing: What was being done, such as ``"classify an image"``.
        url: The address as the caller gave it, for the message and the hint.
        tls: How TLS was spoken, if it was, for the hint.
    """
    words = _PREFIXES.sub("", " ".join((details or "").split())).replace("%5B", "[").replace("%5D", "]")
    words = _NOISE.sub("", words)
    kind = ERROR_FROM_STATUS.get(status, ServerFault)
    kind = next((k for code, part, k in ERROR_FROM_WORDS if code == status and part in words), kind)
    if kind is InvalidImage:  # the server names the image and the reason; nothing of ours makes that clearer
        return kind(words or "the server refused the image", status=status, url=url)
    hint = _connection_hint(words, tls) if kind in (ServerUnreachable, TLSFailed) else None
    return kind(f"could not {doing} at {url}: {words or status} ({status})", hint=hint, status=status, url=url)


def _connection_hint(words: str, tls: TLS | bool) -> str | None:
    """The first row of the table that fits; None for the error's own hint."""
    secure, known = tls is not False, getattr(tls, "client_certificate", None) is not None
    for part, when_secure, when_known, hint in HINT_FROM_WORDS:
        if part in words and when_secure in (None, secure) and when_known in (None, known):
            return hint
    return None
