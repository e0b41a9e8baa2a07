"""Addresses as people write them, turned into one target for gRPC's own name resolution and load balancing.

In: ``"localhost:8001"``, ``"a:8001,b:8001"``, ``"[::1]:8001"``, ``"dns:///triton:8001"``.
Out: a gRPC target such as ``"ipv4:127.0.0.1:8001,127.0.0.1:8011"``. Called by: the transport.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from dataclasses import dataclass

from ._errors import InvalidSetting, ServerUnreachable

GRPC_PORT = 8001
# Schemes of https://github.com/grpc/grpc/blob/master/doc/naming.md that are passed on as they are.
GRPC_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")

_log = logging.getLogger("alexnet_client")


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
    """The gRPC target for ``url``.

    One host name stays a name, which gRPC resolves again when the connection breaks. Several hosts become one
    list of IP addresses, resolved now.

    Raises:
        InvalidSetting: The address cannot be read.
        ServerUnreachable: None of several host names could be resolved.
    """
    if url.startswith(GRPC_SCHEMES):
        return url
    addresses = [parse_address(part) for part in split_urls(url)]
    if len(addresses) == 1 and _ip(addresses[0].host) is None:
        return f"dns:///{addresses[0].host}:{addresses[0].port}"
    endpoints = list(dict.fromkeys(endpoint for address in addresses for endpoint in _resolve(address)))
    if not endpoints:
        raise ServerUnreachable(f"none of the host names in {url} could be resolved", url=url)
    if all(ip.version == 4 for ip, _ in endpoints):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in endpoints)
    # one list holds one family: IPv4 addresses in it are written the IPv6 way, ::ffff:a.b.c.d
    return "ipv6:" + ",".join(f"[{ip if ip.version == 6 else f'::ffff:{ip}'}]:{port}" for ip, port in endpoints)


def is_loopback(url: str) -> bool:
    """Whether every address of ``url`` is this machine itself, so that no proxy may stand in between."""
    if url.startswith(GRPC_SCHEMES):
        return False
    hosts = [parse_address(part).host for part in split_urls(url)]
    return all(host == "localhost" or getattr(_ip(host), "is_loopback", False) for host in hosts)


_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(host: str) -> _IP | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _resolve(address: Address) -> list[tuple[_IP, int]]:
    """Every IP address of a host, those of IPv4 alone if it has any; nothing if the name is not known."""
    literal = _ip(address.host)
    if literal is not None:
        return [(literal, address.port)]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        _log.warning("leaving out %s: its name could not be resolved (%s)", address.host, error)
        return []
    ips = [ipaddress.ip_address(entry[4][0]) for entry in found]
    return [(ip, address.port) for ip in [ip for ip in ips if ip.version == 4] or ips]
