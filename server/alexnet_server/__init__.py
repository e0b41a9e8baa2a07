"""Find, check, start, watch and stop a real Triton Inference Server.

from alexnet_server import running_server

with running_server("DIR") as server:
    print(server.grpc_url)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `alexnet-server check` needs none of them, and is to be quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"RunningServer": "running", "running_server": "serving"}.get(name, "errors")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
