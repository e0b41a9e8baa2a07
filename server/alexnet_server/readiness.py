"""Waiting for models: a started process and its HTTP address in, the loaded versions out.

The server's own health is not enough: it stays 200 while a single model is missing, so each model is asked
for.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Collection
from typing import Any

from alexnet_server.errors import StartCancelledError, StartError
from alexnet_server.process import TritonProcess

_POLL_INTERVAL_S = 0.05
_REQUEST_TIMEOUT_S = 5


def wait_until_ready(
    process: TritonProcess,
    address: str,
    models: Collection[str],
    *,
    timeout_s: float,
    cancelled: Callable[[], bool],
) -> None:
    """Return when every model answers that it is ready.

    Args:
        process: the server, which may end at any time.
        address: HOST:PORT of its HTTP front end.
        models: names, the ensemble's steps among them.
        timeout_s: seconds to wait for all of them together.
        cancelled: asked between polls; True ends the wait.

    Raises:
        StartError: the server ended, with what it said, or was not ready in time.
        StartCancelledError: `cancelled` said so.
    """
    deadline = time.monotonic() + timeout_s
    waiting = {f"/v2/models/{model}/ready": f"model {model}" for model in models}
    waiting["/v2/health/ready"] = "the server itself"
    while True:
        waiting = {path: name for path, name in waiting.items() if get(address, path) is None}
        if not waiting:
            return
        if process.exit_code() is not None:
            raise StartError(
                f"tritonserver ended with exit code {process.exit_code()} before its models were ready"
                f"{quoted(process.problems())}"
            )
        if cancelled():
            raise StartCancelledError("stopped while the server was starting")
        if time.monotonic() > deadline:
            raise StartError(
                f"not ready after {timeout_s:g} s: {', '.join(waiting.values())}"
                f"{quoted(process.problems())}\n"
                "  next: a longer --timeout, or --verbose to see what it waits for"
            )
        time.sleep(_POLL_INTERVAL_S)


def get(address: str, path: str) -> Any:
    """Fetch a path from Triton's HTTP front end.

    Args:
        address: HOST:PORT.
        path: begins with /v2.

    Returns:
        The JSON that came with status 200, {} for an empty body; None for any other status or no answer.
    """
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_REQUEST_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return (json.loads(body) if body else {}) if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def quoted(lines: list[str]) -> str:
    """Return the server's own lines, indented below a message; nothing if there are none."""
    return "".join(f"\n  | {line}" for line in lines)
