"""TLS files, bearer tokens, headers and trace context: what is refused, and what travels with a call."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from alexnet_client import TLS, AsyncClassifier, Classifier, InvalidSetting, Unauthorized
from alexnet_client import _calls as calls
from alexnet_client._channels import channel_options
from alexnet_client._config import Settings
from alexnet_client._headers import Headers
from alexnet_client._transport import AsyncGrpcTransport, GrpcTransport
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Listener(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Remembers the headers of the last call."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.headers = dict(context.invocation_metadata())
        return service_pb2.ServerLiveResponse(live=True)


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[Listener, str]]:
    servicer = Listener()
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def send(settings: Settings) -> None:
    transport = GrpcTransport(settings)
    transport.send(calls.IsServerLive(), 20)
    transport.close()


def send_async(settings: Settings) -> None:
    async def run() -> None:
        transport = AsyncGrpcTransport(settings)
        await transport.send(calls.IsServerLive(), 20)
        await transport.close()

    asyncio.run(run())


@pytest.mark.parametrize("send", [send, send_async])
def test_token_headers_and_compression_reach_the_server(
    listener: tuple[Listener, str], send: Callable[[Settings], None]
) -> None:
    servicer, url = listener
    send(Settings(url, token="sesame", headers={"Triton-GRPC-Protocol-Key": "open"}, compression="gzip"))
    assert servicer.headers["authorization"] == "Bearer sesame"
    assert servicer.headers["triton-grpc-protocol-key"] == "open"


def test_function_is_asked_for_the_token_of_every_call(listener: tuple[Listener, str]) -> None:
    servicer, url = listener
    tokens = iter(["first", "second"])
    transport = GrpcTransport(Settings(url, token=lambda: next(tokens)))
    for token in ("first", "second"):
        transport.send(calls.IsServerLive(), 20)
        assert servicer.headers["authorization"] == f"Bearer {token}"
    transport.close()


def test_function_that_fails_is_an_error_of_that_call(listener: tuple[Listener, str]) -> None:
    def no_vault() -> str:
        raise ConnectionError("vault down")

    transport = GrpcTransport(Settings(listener[1], token=no_vault))
    with pytest.raises(Unauthorized, match="there is no token: its function raised ConnectionError: vault down"):
        transport.send(calls.IsServerLive(), 20)
    exhausted = GrpcTransport(Settings(listener[1], token=lambda: next(iter([]))))
    with pytest.raises(Unauthorized, match="StopIteration"):
        Classifier(transport=exhausted).classify(b"image")
    transport.close()
    exhausted.close()


def test_token_and_an_authorization_header_contradict_each_other() -> None:
    with pytest.raises(InvalidSetting, match="token and headers both set authorization"):
        Classifier(token="sesame", headers={"Authorization": "Basic c2VzYW1l"})


@pytest.mark.parametrize("url", ["gpu:8001", "127.0.0.1:8001,gpu:8001", "dns:///gpu:8001", "xds:///localhost:8001"])
@pytest.mark.parametrize("secret", [{"token": "sesame"}, {"headers": {"Authorization": "Basic c2VzYW1l"}}])
def test_credential_does_not_leave_the_machine_in_the_clear(url: str, secret: dict) -> None:
    with pytest.raises(InvalidSetting, match=r"a credential would travel to .* in the clear; use tls=") as caught:
        Classifier(url, **secret)
    assert "sesame" not in str(caught.value)
    assert "c2Vz" not in str(caught.value)
    Classifier(url, tls=True, **secret).close()


@pytest.mark.parametrize("url", ["localhost:8001", "127.0.0.1:8001,[::1]:8001", "unix:/run/triton.sock"])
def test_credential_for_this_machine_needs_no_tls(url: str) -> None:
    Classifier(url, token="sesame").close()


@pytest.mark.parametrize("token", ["", " ", "two\nlines", "schlüssel", 5])
def test_token_that_cannot_be_sent_is_refused_and_not_quoted(token: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"the token is .*; expected printable ASCII text") as caught:
        Classifier(token=token)
    assert "lines" not in str(caught.value)
    with pytest.raises(InvalidSetting, match="the token is"):
        Headers(None, lambda: token).metadata()


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"a b": "c"}, "the header name 'a b' cannot be sent"),
        ({"": "c"}, "the header name '' cannot be sent"),
        ({"grpc-timeout": "1S"}, "gRPC's own"),
        ({"key-bin": "c"}, "a binary one"),
        ({"key": "line\n"}, "the value of the header 'key' cannot be sent"),
        ({"key": ""}, "the value of the header 'key' cannot be sent"),
        ([("key", "value")], "headers is list"),
    ],
)
def test_header_that_cannot_be_sent_is_refused(headers: Any, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        Classifier(headers=headers)


@pytest.mark.parametrize("settings", [{"compression": "zip"}, {"tls": "ca.pem"}, {"tls": None}])
def test_setting_of_another_kind_is_refused(settings: dict) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(settings))):
        Classifier(**settings)


def test_secrets_are_not_in_what_is_printed() -> None:
    assert "sesame" not in repr(Settings(token="sesame", headers={"key": "sesame"}))


def test_tls_takes_files_that_belong_together(certificates: Path) -> None:
    TLS(certificates / "ca.pem", str(certificates / "client.key"), certificates / "client.pem")


@pytest.mark.parametrize(
    ("root", "key", "certificate", "words"),
    [
        (None, "client.key", None, "client_certificate is missing; client_key and client_certificate go together"),
        (None, None, "client.pem", "client_key is missing"),
        ("none.pem", None, None, "root_certificates .*none.pem cannot be read: No such file"),
        ("text.pem", None, None, "root_certificates .*text.pem has no certificate in PEM form"),
        ("ca.key", None, None, "root_certificates .*ca.key has no certificate in PEM form"),
        (None, "stranger.key", "client.pem", "cannot be used: key values mismatch"),
        (None, "locked.key", "client.pem", "locked.key cannot be used: .*the key without a password"),
        (None, "text.pem", "client.pem", "cannot be used"),
    ],
)
def test_tls_file_that_cannot_be_meant_is_refused(
    certificates: Path, tmp_path: Path, root: Any, key: Any, certificate: Any, words: str
) -> None:
    from cryptography.hazmat.primitives import serialization

    shutil.copytree(certificates, tmp_path / "pem")
    (tmp_path / "pem" / "text.pem").write_text("no PEM")
    own = serialization.load_pem_private_key((certificates / "client.key").read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = own.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"sesame"))
    (tmp_path / "pem" / "locked.key").write_bytes(locked)
    paths = [name and tmp_path / "pem" / name for name in (root, key, certificate)]
    with pytest.raises(InvalidSetting, match=words):
        TLS(*paths)


def test_server_name_is_given_to_grpc() -> None:
    options = dict(channel_options(Settings(tls=TLS(server_name="triton.test")), "10.0.0.1:8001"))
    assert options["grpc.ssl_target_name_override"] == "triton.test"
    with pytest.raises(InvalidSetting, match="server_name is empty"):
        TLS(server_name="")


def test_trace_of_the_caller_goes_along_also_from_the_threads_of_classify_many(
    listener: tuple[Listener, str], transport: Any
) -> None:
    from opentelemetry import context, trace

    servicer, url = listener
    trace_id, span_id = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
    span = trace.NonRecordingSpan(trace.SpanContext(trace_id, span_id, False, trace.TraceFlags(1)))
    expected = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # https://www.w3.org/TR/trace-context/
    seen: list[Any] = []
    transport.on[calls.Infer] = lambda call: seen.append(dict(Headers(None, None).metadata() or ())) or [b"1:0:a"]

    attached = context.attach(trace.set_span_in_context(span))
    try:
        send(Settings(url))
        list(Classifier(transport=transport).classify_many([b"a", b"b"], raise_errors=True))
    finally:
        context.detach(attached)

    assert servicer.headers["traceparent"] == expected
    assert seen == [{"traceparent": expected}] * 2
    assert Headers(None, None).metadata() is None  # outside of a span


def test_opentelemetry_is_not_imported_for_a_program_that_does_not_use_it() -> None:
    program = """
import sys
from alexnet_client._headers import Headers
print(Headers({"a": "b"}, None).metadata(), "opentelemetry" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "(('a', 'b'),) False\n"


def test_every_setting_is_a_keyword_of_both_constructors_with_the_same_default() -> None:
    for kind in (Classifier, AsyncClassifier):
        parameters = inspect.signature(kind).parameters
        for field in dataclasses.fields(Settings):
            assert parameters[field.name].default == field.default, field.name
            assert f"{field.name}:" in (Classifier.__doc__ or "")
