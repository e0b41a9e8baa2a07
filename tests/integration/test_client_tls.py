"""TLS, mutual TLS and restricted protocols against a real Triton Inference Server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alexnet_client import TLS, AsyncClassifier, Classifier, ServerUnreachable, TLSFailed, Unauthorized
from alexnet_server import running_server


@pytest.fixture(scope="module")
def repository(counting_repository: Callable[..., Path]) -> Path:
    return counting_repository()


@pytest.fixture(scope="module")
def mutual(repository: Path, certificates: Path) -> Iterator[Any]:
    """A server that speaks TLS, and asks its clients for a certificate."""
    flags = [
        "--grpc-use-ssl=true",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={certificates / 'server.pem'}",
        f"--grpc-server-key={certificates / 'server.key'}",
        f"--grpc-root-cert={certificates / 'ca.pem'}",
    ]
    with running_server(repository, triton_flags=flags) as server:
        yield server


@pytest.fixture(scope="module")
def restricted(repository: Path) -> Iterator[Any]:
    """A server in the clear that infers only for those who know the secret."""
    with running_server(repository, triton_flags=["--grpc-restricted-protocol=inference:key=sesame"]) as server:
        yield server


@pytest.fixture
def tls(certificates: Path) -> TLS:
    return TLS(certificates / "ca.pem", certificates / "client.key", certificates / "client.pem")


def test_client_with_a_certificate_of_the_authority_is_served_by_name_and_by_number(mutual: Any, tls: TLS) -> None:
    port = mutual.grpc_url.rpartition(":")[2]
    # several addresses: each is compared with the certificate by its own name
    with Classifier(f"127.0.0.1:{port},localhost:{port}", tls=tls, token="t") as classifier:
        results = list(classifier.classify_many([b"1", b"2", b"3", b"4"], top_k=1, raise_errors=True))
    assert [result.predictions[0].index for result in results] == [1, 2, 3, 4]

    async def run() -> int:
        async with AsyncClassifier(mutual.grpc_url, tls=tls) as classifier:
            return (await classifier.classify(b"5", 1))[0].index

    assert asyncio.run(run()) == 5


def test_certificate_is_compared_with_the_given_name(mutual: Any, certificates: Path, tls: TLS) -> None:
    named = TLS(tls.root_certificates, tls.client_key, tls.client_certificate, server_name="triton.test")
    with Classifier(mutual.grpc_url, tls=named) as classifier:
        assert classifier.classify(b"6", 1)[0].index == 6


@pytest.mark.parametrize(
    ("files", "name", "kind", "words", "hint"),
    [
        (("ca", "client"), "other.test", TLSFailed, "Hostname Verification Check failed", "server_name="),
        (("stranger", "client"), None, TLSFailed, "CERTIFICATE_VERIFY_FAILED", "root_certificates="),
        (("ca", None), None, ServerUnreachable, "Socket closed", "want a certificate of its clients"),
        (("ca", "stranger"), None, ServerUnreachable, "Socket closed", "not trust the authority of client_certificate"),
    ],
)
def test_handshake_that_fails_says_what_to_do(
    mutual: Any, certificates: Path, files: tuple, name: str | None, kind: type, words: str, hint: str
) -> None:
    root, own = files
    key, certificate = (certificates / f"{own}.key", certificates / f"{own}.pem") if own else (None, None)
    tls = TLS(certificates / f"{root}.pem", key, certificate, name)
    with Classifier(mutual.grpc_url, tls=tls, retries=1) as classifier, pytest.raises(kind, match=words) as caught:
        classifier.classify(b"1")
    assert hint in caught.value.hint
    assert "OPENSSL_internal" not in caught.value.message


def test_public_authorities_do_not_vouch_for_a_certificate_of_ones_own(mutual: Any) -> None:
    with Classifier(mutual.grpc_url, tls=True) as classifier, pytest.raises(TLSFailed) as caught:
        classifier.classify(b"1")
    assert "root_certificates=" in caught.value.hint


def test_call_in_the_clear_to_a_tls_port_hints_at_tls(mutual: Any) -> None:
    with Classifier(mutual.grpc_url, retries=1) as classifier, pytest.raises(ServerUnreachable) as caught:
        classifier.classify(b"1")
    assert "speak TLS at this port" in caught.value.hint


def test_call_in_tls_to_a_port_in_the_clear_is_refused_at_once(restricted: Any, tls: TLS) -> None:
    with Classifier(restricted.grpc_url, tls=tls) as classifier:
        started_s = classifier._transport.now_s()
        with pytest.raises(TLSFailed) as caught:
            classifier.classify(b"1")
        assert classifier._transport.now_s() - started_s < 2
    assert "does not speak TLS at this port" in caught.value.hint


def test_restricted_protocol_is_open_to_those_who_send_the_secret(restricted: Any) -> None:
    with Classifier(restricted.grpc_url, headers={"Triton-GRPC-Protocol-Key": "sesame"}) as knows:
        assert knows.classify(b"7", 1)[0].index == 7
    for headers in (None, {"triton-grpc-protocol-key": "guess"}):
        with Classifier(restricted.grpc_url, headers=headers) as guesses, pytest.raises(Unauthorized) as caught:
            guesses.classify(b"7")
        assert "headers={'triton-grpc-protocol-" in caught.value.hint


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_request_is_understood(restricted: Any, compression: Any) -> None:
    headers = {"triton-grpc-protocol-key": "sesame"}
    with Classifier(restricted.grpc_url, compression=compression, headers=headers) as classifier:
        assert classifier.classify(b"8", 1)[0].index == 8
