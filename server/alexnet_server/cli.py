"""The command `alexnet-server`.

Results go to stdout, messages to stderr; it exits with 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from alexnet_server.findings import Finding, Situation
    from alexnet_server.running import RunningServer

app = typer.Typer(
    help="Serve a model repository with a real Triton Inference Server, or say what is in the way.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def compute_capabilities(values: list[str] | None) -> list[str] | None:
    """Let compute capabilities through; anything else ends the program with exit code 2."""
    for value in values or []:
        if not re.fullmatch(r"\d+\.\d+", value):
            raise typer.BadParameter(f"{value!r} is not a compute capability, such as 8.9")
    return values


def version_numbers(value: str | None) -> str | None:
    """Let a version through; anything else ends the program with exit code 2."""
    if value is not None and not re.fullmatch(r"\d+(\.\d+)+", value):
        raise typer.BadParameter(f"{value!r} is not a version, such as 11.3 or 11.3.0")
    return value


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


@app.command(epilog="Example: alexnet-server check --repository model_repository --gpu 8.9 --tensorrt 11.3")
def check(
    repository: RepositoryOption,
    triton_flags: Annotated[
        list[str] | None,
        typer.Argument(metavar="TRITONSERVER_FLAG", help="After --: what tritonserver will be started with."),
    ] = None,
    tritonserver: TritonserverOption = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            help="Check for a machine with a GPU of this compute capability instead of this machine; may be repeated.",
            metavar="N.N",
            callback=compute_capabilities,
        ),
    ] = None,
    tensorrt: Annotated[
        str | None,
        typer.Option(
            "--tensorrt",
            help="Check for a server with this TensorRT instead of the one here, e.g. 11.3.",
            metavar="N.N[.N]",
            callback=version_numbers,
        ),
    ] = None,
    hash_engines: Annotated[
        bool,
        typer.Option("--hash", help="Compare the engines' SHA-256 too, which reads every byte: a second for 250 MB."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Say what would not load here, why, and the command that mends it; start nothing."""
    from alexnet_server.errors import ServerError
    from alexnet_server.findings import Target
    from alexnet_server.preflight import read_situation, run_checks, run_notes

    target = Target(tuple(gpu or ()), tensorrt) if gpu or tensorrt else None
    try:
        situation = read_situation(
            repository.absolute(), tritonserver, tuple(triton_flags or ()), target=target, hash_engines=hash_engines
        )
        findings, notes = run_checks(situation), run_notes(situation)
    except ServerError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "server": None, "findings": [], "notes": [], "error": str(error)}))
        fail(str(error))
    if as_json:
        typer.echo(json_from_findings(findings, notes, situation))
    else:
        for note in notes:
            typer.echo(f"note: {note}", err=True)
        names = ", ".join(model.name for model in situation.models)
        fine = f"{names}: nothing is in the way of serving {situation.repository} with {target or situation.server}"
        typer.echo("\n".join(str(finding) for finding in findings) or fine)
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


def json_from_findings(findings: tuple[Finding, ...], notes: tuple[Finding, ...], situation: Situation) -> str:
    """Return one line of JSON: whether all is well, the server, each finding's and each note's fields."""
    server = str(situation.server) if situation.server else None
    listed = {"findings": [asdict(finding) for finding in findings], "notes": [asdict(note) for note in notes]}
    return json.dumps({"ok": not findings, "server": server, **listed, "error": None})


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
