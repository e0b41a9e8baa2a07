from __future__ import annotations

import re

import grpc
import pytest
from alexnet_client import (
    AlexNetClientError,
    DeadlineExceeded,
    InvalidImage,
    InvalidSetting,
    ModelNotFound,
    ModelNotReady,
    ProtocolMismatch,
    ServerFault,
    ServerOverloaded,
    ServerUnreachable,
    TLSFailed,
    Unauthorized,
    _errors,
    _statuses,
)


def error_from(status: str, words: str) -> AlexNetClientError:
    return _statuses.error_from_status(status, words, doing="classify an image", url="host:8001")


def test_table_has_every_grpc_status_and_no_other() -> None:
    assert set(_statuses.ERROR_FROM_STATUS) == {code.name for code in grpc.StatusCode}
    assert {status for status, _, _ in _statuses.ERROR_FROM_WORDS} <= set(_statuses.ERROR_FROM_STATUS)


def test_docstring_draws_every_class_of_the_tree() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", _errors.__doc__ or ""))
    assert drawn == {kind.__name__ for kind in AlexNetClientError.__subclasses__()}


def test_docstring_marks_exactly_the_errors_that_are_tried_again() -> None:
    marked = set(re.findall(r"[├└]── (\w+) .*tried again", _errors.__doc__ or ""))
    assert marked == {kind.__name__ for kind in AlexNetClientError.__subclasses__() if kind.safe_to_retry}
    assert marked == {"ServerUnreachable", "ServerOverloaded", "ModelNotReady"}


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: Connection refused",
            ServerUnreachable,
        ),
        ("UNAVAILABLE", "in ensemble 'classifier', Exceeds maximum queue size", ServerOverloaded),
        ("UNAVAILABLE", "[request id: 3] Request timeout expired", DeadlineExceeded),
        (
            "UNAVAILABLE",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-x'",
            Unauthorized,
        ),
        (
            "UNAVAILABLE",
            "Request for unknown model: 'classifier' version 1 is not at ready state",
            ModelNotReady,
        ),
        ("NOT_FOUND", "Request for unknown model: 'classifier' has no available versions", ModelNotReady),
        ("NOT_FOUND", "Request for unknown model: 'nope' is not found", ModelNotFound),
        ("INVALID_ARGUMENT", "in ensemble 'classifier', cannot identify image file", InvalidImage),
        ("INVALID_ARGUMENT", "unexpected inference input 'X' for model 'classifier'", ProtocolMismatch),
        ("INTERNAL", "in ensemble 'classifier', Stub process 'alexnet_0' is not healthy.", ServerFault),
        ("RESOURCE_EXHAUSTED", "Sent message larger than max (9 vs. 4)", InvalidImage),
        ("RESOURCE_EXHAUSTED", "", ServerOverloaded),
    ],
)
def test_words_of_triton_decide_where_the_status_is_too_wide(
    status: str, words: str, kind: type[AlexNetClientError]
) -> None:
    error = error_from(status, words)
    assert type(error) is kind
    assert error.status == status


def test_message_of_an_invalid_image_is_the_servers_reason_alone() -> None:
    words = "in ensemble 'classifier', [request id: <id_unknown>] cannot identify image file"
    assert error_from("INVALID_ARGUMENT", words).message == "cannot identify image file"


def test_message_says_what_failed_where_and_what_to_type_next() -> None:
    words = "connections to all backends failing; last error: UNKNOWN: ipv6:%5B::1%5D:1: Connection refused"
    error = error_from("UNAVAILABLE", words)
    assert error.message == ("could not classify an image at host:8001: ipv6:[::1]:1: Connection refused (UNAVAILABLE)")
    assert "alexnet-client wait --url host:8001" in error.hint
    assert str(error) == f"{error.message}. {error.hint}"


def test_unknown_status_is_the_servers_fault() -> None:
    assert type(error_from("A_NEW_ONE", "?")) is ServerFault


def test_invalid_setting_is_a_value_error_too() -> None:
    assert issubclass(InvalidSetting, ValueError)


CERTIFICATE = (
    "connections to all backends failing; last error: UNKNOWN: ipv4:10.0.0.1:8001: Tls handshake failed "
    "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: "
    "unable to get local issuer certificate: OK"
)
NOT_TLS = (
    "connections to all backends failing; last error: UNKNOWN: ipv4:10.0.0.1:8001: Tls handshake failed "
    "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER: "
    "Invalid certificate verification context: OK"
)
OTHER_NAME = (
    "connections to all backends failing; last error: UNKNOWN: ipv4:10.0.0.1:8001: Custom verification check failed "
    "with error: UNAUTHENTICATED: Hostname Verification Check failed."
)
HUNG_UP = "connections to all backends failing; last error: UNAVAILABLE: ipv4:10.0.0.1:8001: Socket closed"


@pytest.mark.parametrize(
    ("words", "tls", "kind", "hint"),
    [
        (CERTIFICATE, True, TLSFailed, "tls=TLS(root_certificates='ca.pem')"),
        (NOT_TLS, True, TLSFailed, "does not speak TLS at this port"),
        (OTHER_NAME, True, TLSFailed, "tls=TLS(server_name='...')"),
        (HUNG_UP, False, ServerUnreachable, "speak TLS at this port, which wants tls="),
        (HUNG_UP, True, ServerUnreachable, "tls=TLS(client_key=..., client_certificate=...)"),
    ],
)
def test_connection_that_does_not_come_about_has_its_hint(words: str, tls: bool, kind: type, hint: str) -> None:
    error = _statuses.error_from_status("UNAVAILABLE", words, doing="classify an image", url="host:8001", tls=tls)
    assert type(error) is kind
    assert hint in error.hint
    assert "OPENSSL" not in error.message


def test_message_of_a_handshake_keeps_the_reason_alone() -> None:
    assert error_from("UNAVAILABLE", CERTIFICATE).message == (
        "could not classify an image at host:8001: ipv4:10.0.0.1:8001: Tls handshake failed: "
        "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate (UNAVAILABLE)"
    )
