"""The three ports of a server, checked before it starts.

Triton itself notices a taken port only after it has loaded the models, and may share it with another server.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import astuple, dataclass

from alexnet_server.errors import PortError


@dataclass(frozen=True)
class Ports:
    """Where tritonserver listens; the defaults are Triton's."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


def check_ports(host: str, ports: Ports) -> None:
    """Check that a server could listen on all three ports now.

    Raises:
        PortError: one is not a port number, is given twice, or is taken; the message names it.
    """
    if len(set(astuple(ports))) != 3:
        raise PortError(
            f"three different ports are needed: http {ports.http}, grpc {ports.grpc}, metrics {ports.metrics}"
        )
    for purpose, port in (("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics)):
        option = f"--{purpose}-port"
        if not 0 < port < 65536:
            raise PortError(f"{option} {port} is not a port, expected 1 to 65535")
        try:
            _listen(host, port).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortError(
                    f"{option} {port} is taken by another program on {host}\n"
                    f"  next: `ss -ltnp 'sport = :{port}'` shows which; or choose another with {option}"
                ) from error
            raise PortError(f"cannot listen on {host}:{port} ({option}): {error.strerror}") from error


def free_ports(host: str) -> Ports:
    """Return three ports that are free at this moment."""
    sockets = [_listen(host, 0) for _ in range(3)]
    try:
        return Ports(*(listening.getsockname()[1] for listening in sockets))
    finally:
        for listening in sockets:
            listening.close()


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket()
    try:
        # As servers do: a port whose last connections are still winding down is free.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening
