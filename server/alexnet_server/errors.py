"""What can go wrong around a server, for callers of `running_server` and for the command line.

ServerError
├── TritonNotFoundError    no tritonserver where one is looked for
├── PreflightError         something would not load here; holds the findings
├── PortError              a port is taken, repeated or no port at all
├── StartError             tritonserver ended, or was not ready in time
│   └── StartCancelledError    the caller asked to stop while it was starting
└── ModelLostError         a model that was ready is gone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alexnet_server.findings import Finding


class ServerError(RuntimeError):
    """Anything this package reports; the message says what to do next."""


class TritonNotFoundError(ServerError):
    """There is no tritonserver to start."""


class PreflightError(ServerError):
    """Something in the repository or on this machine would keep a model from loading."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))


class PortError(ServerError):
    """A port cannot be listened on."""


class StartError(ServerError):
    """The server ended before it was ready, or was not ready in time."""


class StartCancelledError(StartError):
    """The caller asked to stop while the server was starting."""


class ModelLostError(ServerError):
    """A model that was ready no longer answers."""
