"""Addresses as people write them, turned into targets for gRPC's own name resolution.

In: ``"localhost:8001"``, ``"a:8001,b:8001"``, ``"[::1]:8001"``, ``"dns:///triton:8001"``.
Out: gRPC targets such as ``"dns:///localhost:8001"``, one for each address. Called by: the settings, the transport.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ._errors import InvalidSetting

GRPC_PORT = 8001
# Schemes of https://github.com/grpc/grpc/blob/master/doc/naming.md that are passed on as they are.
GRPC_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")


@dataclass(frozen=True, slots=True)
class Address:
    """One host, a name or an IP address without brackets, and its port."""

    host: str
    port: int


def split_urls(url: str) -> list[str]:
    """The single addresses of ``url``; a gRPC target such as ``ipv4:a,b`` is one.

    Raises:
        InvalidSetting: There is none.
    """
    if url.startswith(GRPC_SCHEMES):
        return [url]
    urls = [part.strip() for part in url.split(",") if part.strip()]
    if not urls:
        raise InvalidSetting(f"the address {url!r} is empty; expected HOST:PORT, such as localhost:8001")
    return urls


def parse_address(text: str) -> Address:
    """``host``, ``host:port`` or ``[ipv6]:port``; without a port, Triton's gRPC port 8001.

    Raises:
        InvalidSetting: It is none of these.
    """
    expected = "expected HOST:PORT of the gRPC service, such as localhost:8001"
    if "://" in text or "/" in text:
        raise InvalidSetting(f"the address {text!r} is a URL; {expected}")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        well_formed = bool(bracket) and colon in ("", ":")
    elif text.count(":") > 1:  # an IPv6 address without brackets cannot carry a port
        host, colon, port, well_formed = text, "", "", True
    else:
        host, colon, port = text.partition(":")
        well_formed = True
    if not well_formed or not host or (colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise InvalidSetting(f"the address {text!r} cannot be read; {expected}")
    return Address(host, int(port) if port else GRPC_PORT)


def target_from_url(url: str) -> str:
    """The gRPC target for one address. A host name stays a name: gRPC resolves it again when a connection breaks.

    Raises:
        InvalidSetting: The address cannot be read.
    """
    if url.startswith(GRPC_SCHEMES):
        return url
    address = parse_address(url)
    ip = _ip(address.host)
    if ip is None:
        return f"dns:///{address.host}:{address.port}"
    return f"ipv4:{ip}:{address.port}" if ip.version == 4 else f"ipv6:[{ip}]:{address.port}"


def is_local(url: str) -> bool:
    """Whether every address of ``url`` is this machine itself: no proxy stands in between, and no listener."""
    if url.startswith(("unix:", "unix-abstract:")):
        return True
    if url.startswith("xds:"):  # the name of a service, which may be anywhere
        return False
    scheme = next((scheme for scheme in GRPC_SCHEMES if url.startswith(scheme)), "")
    # what follows is a list for ipv4: and ipv6:, and one host for dns:, which may name a resolver before it
    try:
        hosts = [parse_address(part).host for part in split_urls(url.removeprefix(scheme).removeprefix("///"))]
    except InvalidSetting:
        if scheme:
            return False
        raise
    return all(host == "localhost" or getattr(_ip(host), "is_loopback", False) for host in hosts)


_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(host: str) -> _IP | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
