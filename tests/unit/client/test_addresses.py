from __future__ import annotations

import pytest
from alexnet_client import Classifier, InvalidSetting
from alexnet_client._addresses import Address, is_local, parse_address, split_urls, target_from_url


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
        ("dns:///triton.svc:8001", "dns:///triton.svc:8001"),
        ("unix:/run/triton.sock", "unix:/run/triton.sock"),
    ],
)
def test_target_is_a_name_that_grpc_resolves_or_an_ip_address(url: str, target: str) -> None:
    assert target_from_url(url) == target


def test_urls_are_split_and_a_grpc_target_is_not() -> None:
    assert split_urls("a:1, b:2,") == ["a:1", "b:2"]
    assert split_urls("ipv4:1.2.3.4:1,1.2.3.5:1") == ["ipv4:1.2.3.4:1,1.2.3.5:1"]


@pytest.mark.parametrize("url", ["", " , "])
def test_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="is empty"):
        split_urls(url)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("localhost:1,127.0.0.1:2,[::1]:3", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("unix:/run/triton.sock", True),
        ("localhost:1,gpu:1", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("dns:///a", False),
        ("dns://10.0.0.53/localhost:1", False),  # what that resolver takes localhost for is its own affair
    ],
)
def test_address_is_local_only_if_all_of_it_is_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local
