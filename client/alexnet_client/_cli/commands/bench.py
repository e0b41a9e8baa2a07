"""The command ``bench``."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from alexnet_client._cli.options import MOMENT_S, Connection, connected
from alexnet_client._config import DEFAULT_DEADLINE_S, DEFAULT_TOP_K


class BenchFormat(str, enum.Enum):
    """How ``bench`` writes its results."""

    table = "table"
    json = "json"
    csv = "csv"


@connected
def bench(
    connection: Connection,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH...]",
            show_default=False,
            help="Files, directories, patterns; '-' is an image on stdin. Without any, images are generated.",
        ),
    ] = None,
    concurrency: Annotated[
        str, typer.Option("--concurrency", metavar="N[,N...]", help="Images under way at once; a run for each.")
    ] = "1,8,32",
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=MOMENT_S, help="Length of a run.")] = 5.0,
    warmup: Annotated[
        float, typer.Option("--warmup", metavar="S", min=0, help="Seconds before each run that do not count.")
    ] = 1.0,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Labels for each image.")] = DEFAULT_TOP_K,
    format: Annotated[BenchFormat, typer.Option("--format", help="How to write results.")] = BenchFormat.table,
    deadline: Annotated[
        float, typer.Option("--deadline", metavar="S", min=MOMENT_S, help="Seconds for each image.")
    ] = DEFAULT_DEADLINE_S,
) -> None:
    """Measure images a second and latency, and where on the server the time goes."""
    from alexnet_client._cli.bench import Plan, bench_paths, counts_from_text
    from alexnet_client._cli.ending import FAILED

    plan = Plan(counts_from_text(concurrency), seconds, warmup, top, deadline)
    if bench_paths(paths or [], plan, connection, format=format.value):
        raise typer.Exit(FAILED)
