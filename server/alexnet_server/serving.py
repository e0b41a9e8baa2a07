"""One call that serves a repository: checks it, starts tritonserver, waits for the models, stops it again.

The command line, the tests and the benchmarks start servers through `running_server` alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from alexnet_server.backends import prepare_backends, server_environment
from alexnet_server.errors import PreflightError, ServerError
from alexnet_server.flags import expected_models, refuse_owned_flags
from alexnet_server.ports import Ports, check_ports, free_ports
from alexnet_server.preflight import read_situation, run_checks
from alexnet_server.process import DRAIN_TIMEOUT_S, TritonProcess
from alexnet_server.readiness import wait_until_ready
from alexnet_server.running import RunningServer
from alexnet_server.stubs import StubWatch

START_TIMEOUT_S = 120


@contextmanager
def running_server(
    repository: str | Path,
    *,
    ports: Ports | None = None,
    host: str = "127.0.0.1",
    tritonserver: Path | None = None,
    triton_flags: Sequence[str] = (),
    log: Path | None = None,
    verbose: bool = False,
    timeout_s: float = START_TIMEOUT_S,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[RunningServer]:
    """Serve `repository` for as long as the context lasts.

    Args:
        repository: a model repository whose models this machine can serve.
        ports: where to listen; None takes three free ones.
        host: the address to listen on; 0.0.0.0 for every one of the machine.
        tritonserver: the executable; None looks for one, see `discovery.py`.
        triton_flags: further flags for tritonserver.
        log: a file for everything it writes; its warnings and errors come to stderr in any case.
        verbose: all of it comes to stderr.
        timeout_s: seconds until every model must be ready.
        cancelled: asked while waiting; True ends the start.

    Raises:
        PreflightError: the repository cannot be served here; nothing was started.
        TritonNotFoundError: there is no tritonserver.
        PortError: a port cannot be listened on.
        StartError: the server ended or was not ready in time.
        ServerError: there is no repository, a flag contradicts an argument, or the log cannot be written.
    """
    repository = Path(repository).absolute()
    refuse_owned_flags(triton_flags)
    situation = read_situation(repository, tritonserver, tuple(triton_flags))
    findings = run_checks(situation)
    if findings:
        raise PreflightError(findings)
    assert situation.server is not None  # it is for other machines alone that none is looked for
    check_ports(host, ports := ports or free_ports(host))
    models = expected_models(situation.models, triton_flags)

    with ExitStack() as stack:
        try:
            log_file = stack.enter_context(log.open("wb")) if log else None
        except OSError as error:
            raise ServerError(f"the log {log} cannot be written: {error.strerror}") from error
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alexnet-server-")))
        command = [
            str(situation.server.executable),
            f"--model-repository={repository}",
            f"--backend-directory={prepare_backends(situation.server, folder)}",
            "--disable-auto-complete-config",  # a config that says too little is a fault, not a wish
            f"--http-address={host}",
            f"--http-port={ports.http}",
            f"--grpc-address={host}",
            f"--grpc-port={ports.grpc}",
            f"--metrics-port={ports.metrics}",
            f"--exit-timeout-secs={DRAIN_TIMEOUT_S}",
            *triton_flags,
        ]
        process = TritonProcess(command, server_environment(situation.server), log_file, verbose=verbose)
        stack.callback(process.stop)
        server = RunningServer(repository, situation.server, host, ports, models, process, StubWatch(process.pid))
        address = server.http_url.removeprefix("http://")
        wait_until_ready(process, address, models, timeout_s=timeout_s, cancelled=cancelled)
        server.check()  # from here on it knows its models' processes
        yield server
