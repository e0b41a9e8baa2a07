"""The command ``watch``."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from alexnet_client._cli.options import MOMENT_S, Connection, connected
from alexnet_client._config import DEFAULT_CONCURRENCY, DEFAULT_TOP_K


class WatchFormat(str, enum.Enum):
    """How ``watch`` writes its results: what can go on without end."""

    jsonl = "jsonl"
    csv = "csv"
    table = "table"


@connected
def watch(
    connection: Connection,
    directories: Annotated[
        list[str], typer.Argument(metavar="DIR", help="Directories, with those below them.", show_default=False)
    ],
    existing: Annotated[bool, typer.Option("--existing", help="Begin with the images that are there.")] = False,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Labels for each image.")] = DEFAULT_TOP_K,
    format: Annotated[WatchFormat, typer.Option("--format", help="How to write results.")] = WatchFormat.jsonl,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, help="Images under way at once.")
    ] = DEFAULT_CONCURRENCY,
    deadline: Annotated[
        float,
        typer.Option(
            "--deadline", metavar="S", min=MOMENT_S, help="Seconds for each image, a server's restart included."
        ),
    ] = 120.0,
    settle: Annotated[
        float,
        typer.Option(
            "--settle", metavar="S", min=MOMENT_S, help="A file is complete if it has not changed for so long."
        ),
    ] = 0.5,
    poll: Annotated[
        float | None,
        typer.Option(
            "--poll",
            metavar="S",
            min=MOMENT_S,
            show_default=False,
            help="Look so often. Without it the kernel tells of changes; on network shares, 1.",
        ),
    ] = None,
) -> None:
    """Classify images as they arrive in directories, until Ctrl-C. Exit status 1 if one failed."""
    from alexnet_client._cli.ending import FAILED
    from alexnet_client._cli.watch import Watch, watch_directories

    job = Watch(tuple(directories), existing, top, format.value, concurrency, deadline, settle, poll)
    if watch_directories(job, connection):
        raise typer.Exit(FAILED)
