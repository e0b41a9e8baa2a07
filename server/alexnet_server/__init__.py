"""Find, check, start, watch and stop a real Triton Inference Server.

from alexnet_server import running_server

with running_server("DIR") as server:
    print(server.grpc_url)
"""

from alexnet_server.errors import (
    ModelLostError,
    PortError,
    PreflightError,
    ServerError,
    StartCancelledError,
    StartError,
    TritonNotFoundError,
)
from alexnet_server.running import RunningServer
from alexnet_server.serving import running_server

__all__ = [
    "ModelLostError",
    "PortError",
    "PreflightError",
    "RunningServer",
    "ServerError",
    "StartCancelledError",
    "StartError",
    "TritonNotFoundError",
    "running_server",
]
