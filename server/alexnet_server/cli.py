"""The command `alexnet-server`.

Results go to stdout, messages to stderr; it exits with 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from alexnet_server.findings import Finding
    from alexnet_server.running import RunningServer

app = typer.Typer(
    help="Serve a model repository with a real Triton Inference Server, or say what is in the way.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RepositoryOption = Annotated[Path, typer.Option("--repository", help="The model repository.", metavar="DIR")]
TritonserverOption = Annotated[
    Path | None,
    typer.Option(
        "--tritonserver",
        help="The executable to start. Default: $ALEXNET_TRITONSERVER, PATH, /opt/tritonserver, the wheel's.",
        metavar="FILE",
    ),
]


@app.command(epilog="Example: alexnet-server run --repository model_repository -- --log-verbose=1")
def run(
    repository: RepositoryOption,
    triton_flags: Annotated[
        list[str] | None,
        typer.Argument(metavar="TRITONSERVER_FLAG", help="After --, as --name=value: passed on to tritonserver."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of them.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="Port of HTTP.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Port of the Prometheus metrics.")] = 8002,
    tritonserver: TritonserverOption = None,
    log: Annotated[Path | None, typer.Option(help="A file for all that tritonserver writes.", metavar="FILE")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="All of it on stderr too.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds until every model must be ready.")] = 120.0,
) -> None:
    """Serve a repository until Ctrl-C: check it, start tritonserver, wait for the models, print addresses."""
    from alexnet_server.errors import ServerError, StartCancelledError
    from alexnet_server.flags import refuse_owned_flags
    from alexnet_server.ports import Ports
    from alexnet_server.serving import running_server

    try:
        refuse_owned_flags(triton_flags or [])
    except ServerError as error:
        fail(str(error), exit_code=2)
    stop = stop_event_from_signals()
    try:
        with running_server(
            repository,
            ports=Ports(http_port, grpc_port, metrics_port),
            host=host,
            tritonserver=tritonserver,
            triton_flags=triton_flags or [],
            log=log,
            verbose=verbose,
            timeout_s=timeout,
            cancelled=stop.is_set,
        ) as server:
            typer.echo(describe(server))
            sys.stdout.flush()
            server.watch(stop)
            typer.echo("stopping", err=True)
    except StartCancelledError as cancelled:
        typer.echo(str(cancelled), err=True)
    except ServerError as error:
        fail(str(error))


@app.command(epilog="Example: alexnet-server check --repository model_repository --json")
def check(
    repository: RepositoryOption,
    tritonserver: TritonserverOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Say what would not load here, why, and the command that mends it; start nothing."""
    from alexnet_server.errors import ServerError
    from alexnet_server.preflight import run_checks
    from alexnet_server.serving import read_situation

    try:
        situation = read_situation(repository.absolute(), tritonserver)
        findings = run_checks(situation)
    except ServerError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "server": None, "findings": [], "error": str(error)}))
        fail(str(error))
    if as_json:
        typer.echo(json_from_findings(findings, str(situation.server)))
    elif findings:
        typer.echo("\n".join(str(finding) for finding in findings))
    else:
        names = ", ".join(model.name for model in situation.models)
        typer.echo(f"{names}: nothing is in the way of serving {situation.repository} with {situation.server}")
    raise typer.Exit(1 if findings else 0)


def describe(server: RunningServer) -> str:
    """Return what a user needs to know of a server that is ready: its version, models and addresses."""
    models = [f"{name} {'/'.join(versions)}" for name, versions in server.model_versions().items()]
    return (
        f"Triton Inference Server {server.version} is ready\n"
        f"  models   {', '.join(models)}\n"
        f"  grpc     {server.grpc_url}\n"
        f"  http     {server.http_url}\n"
        f"  metrics  {server.metrics_url}"
    )


def json_from_findings(findings: tuple[Finding, ...], server: str) -> str:
    """Return one line of JSON: whether all is well, the server, and each finding's fields."""
    fields = [asdict(finding) for finding in findings]
    return json.dumps({"ok": not findings, "server": server, "findings": fields, "error": None})


def stop_event_from_signals() -> threading.Event:
    """Return an event that Ctrl-C, SIGTERM or a closed terminal sets; no exception cuts a step short."""
    stop = threading.Event()

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, request_stop)
    return stop


def fail(message: str, *, exit_code: int = 1) -> NoReturn:
    """Say what went wrong on stderr and leave."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(exit_code)


def main() -> None:
    """Run the command line; the console script's entry."""
    app()


if __name__ == "__main__":
    main()
