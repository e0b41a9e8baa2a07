"""A server that is ready, as `running_server` hands it over: its addresses, its models, whether it lives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_server.discovery import TritonServer
from alexnet_server.errors import ModelLostError
from alexnet_server.ports import Ports
from alexnet_server.process import TritonProcess
from alexnet_server.readiness import get, quoted
from alexnet_server.stubs import StubWatch

WATCH_INTERVAL_S = 2


@dataclass(frozen=True)
class RunningServer:
    """A server whose models were all ready when it was handed over.

    Attributes:
        repository: the folder it serves.
        triton: the executable it runs.
        host: the address it listens on.
        ports: what it listens on there.
        models: the names it serves.
    """

    repository: Path
    triton: TritonServer
    host: str
    ports: Ports
    models: tuple[str, ...]
    _process: TritonProcess = field(repr=False)
    _stubs: StubWatch = field(repr=False)

    @property
    def grpc_url(self) -> str:
        """HOST:PORT, as gRPC clients want it."""
        return f"{self._reachable_host}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """http://HOST:PORT of the HTTP front end."""
        return f"http://{self._reachable_host}:{self.ports.http}"

    @property
    def metrics_url(self) -> str:
        """Where the Prometheus metrics are."""
        return f"http://{self._reachable_host}:{self.ports.metrics}/metrics"

    @property
    def pid(self) -> int:
        """The process id of tritonserver."""
        return self._process.pid

    @property
    def version(self) -> str:
        """The version the server reports, e.g. "2.51.0"."""
        return str((self._get("/v2") or {}).get("version", "unknown"))

    def model_versions(self) -> dict[str, list[str]]:
        """Return the loaded versions of every model, by the model's name."""
        return {model: (self._get(f"/v2/models/{model}") or {}).get("versions", []) for model in self.models}

    def check(self) -> None:
        """Look once whether everything that was ready still is.

        Raises:
            ModelLostError: the server ended, a model's process died, or a model is not ready any more.
        """
        if self._process.exit_code() is not None:
            raise self._lost(f"tritonserver ended with exit code {self._process.exit_code()}")
        lost = self._stubs.lost_instances()
        if lost:
            raise self._lost(f"the process of {', '.join(lost)} died, which Triton goes on reporting as ready")
        missing = [model for model in self.models if self._get(f"/v2/models/{model}/ready") is None]
        # Asked once more: a machine under full load can miss one answer.
        missing = [model for model in missing if self._get(f"/v2/models/{model}/ready") is None]
        if missing and self._process.exit_code() is None:
            raise self._lost(f"no longer ready: {', '.join(missing)}")

    def watch(self, stop: threading.Event, *, interval_s: float = WATCH_INTERVAL_S) -> None:
        """Look again every few seconds until `stop` is set.

        Raises:
            ModelLostError: see `check`.
        """
        while not stop.wait(interval_s):
            self.check()

    def _lost(self, what: str) -> ModelLostError:
        return ModelLostError(f"{what}{quoted(self._process.problems())}\n  next: start the server again")

    @property
    def _reachable_host(self) -> str:
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host

    def _get(self, path: str) -> dict | None:
        return get(f"{self._reachable_host}:{self.ports.http}", path)
