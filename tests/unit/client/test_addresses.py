from __future__ import annotations

import socket

import pytest
from alexnet_client import Classifier, InvalidSetting, ServerUnreachable
from alexnet_client._addresses import Address, is_loopback, parse_address, split_urls, target_from_url

HOSTS = {"one": ["10.0.0.1"], "both": ["fd00::2", "10.0.0.2"], "six": ["fd00::3"]}


@pytest.fixture
def known_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, port: int, type: int) -> list[tuple]:
        if host not in HOSTS:
            raise socket.gaierror("Name or service not known")
        return [(None, type, 6, "", (ip, port)) for ip in HOSTS[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8001", Address("localhost", 8001)),
        ("triton", Address("triton", 8001)),
        ("10.1.2.3:9", Address("10.1.2.3", 9)),
        ("[::1]:18001", Address("::1", 18001)),
        ("[::1]", Address("::1", 8001)),
        ("fe80::1", Address("fe80::1", 8001)),
    ],
)
def test_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000",
        "host:8001/v2",
        "host:",
        "host:0",
        "host:65536",
        "host:grpc",
        ":8001",
        "[::1",
        "[::1]8",
    ],
)
def test_mistyped_address_is_refused_when_the_client_is_made(text: str) -> None:
    with pytest.raises(InvalidSetting, match="expected HOST:PORT"):
        Classifier(text)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("triton:8001", "dns:///triton:8001"),
        ("127.0.0.1:8001", "ipv4:127.0.0.1:8001"),
        ("[::1]:8001", "ipv6:[::1]:8001"),
        ("127.0.0.1:8001, 127.0.0.1:8011", "ipv4:127.0.0.1:8001,127.0.0.1:8011"),
        ("one,both:9", "ipv4:10.0.0.1:8001,10.0.0.2:9"),
        ("one,six", "ipv6:[::ffff:10.0.0.1]:8001,[fd00::3]:8001"),
        ("one,unknown", "ipv4:10.0.0.1:8001"),
        ("one,one", "ipv4:10.0.0.1:8001"),
        ("dns:///triton.svc:8001", "dns:///triton.svc:8001"),
        ("unix:/run/triton.sock", "unix:/run/triton.sock"),
    ],
)
@pytest.mark.usefixtures("known_hosts")
def test_target_names_every_address(url: str, target: str) -> None:
    assert target_from_url(url) == target


@pytest.mark.usefixtures("known_hosts")
def test_unknown_names_alone_are_unreachable() -> None:
    with pytest.raises(ServerUnreachable, match="none of the host names in no,nor could be resolved"):
        target_from_url("no,nor")


def test_urls_are_split_and_a_grpc_target_is_not() -> None:
    assert split_urls("a:1, b:2,") == ["a:1", "b:2"]
    assert split_urls("ipv4:1.2.3.4:1,1.2.3.5:1") == ["ipv4:1.2.3.4:1,1.2.3.5:1"]


@pytest.mark.parametrize("url", ["", " , "])
def test_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="is empty"):
        split_urls(url)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("localhost:1,127.0.0.1:2,[::1]:3", True), ("localhost:1,gpu:1", False), ("dns:///a", False)],
)
def test_proxy_is_left_out_only_on_this_machine(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
