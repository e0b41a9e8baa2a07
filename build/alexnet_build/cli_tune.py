"""The command ``alexnet-build tune``."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alexnet_build.tuning.compare import Trial


def tune(
    repository: Annotated[
        Path,
        typer.Option("--repository", metavar="DIR", help="The model repository; its configs are written."),
    ],
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="HOST:PORT",
            help="Tune on this server, by its gRPC address; without it, one is started. It must serve the same "
            "repository, with --model-control-mode=explicit --load-model=*",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests under way at once.")] = 32,
    max_p99_ms: Annotated[
        float | None,
        typer.Option("--max-p99-ms", min=0.001, help="Longest 99th percentile of these requests."),
    ] = None,
    max_latency_loss: Annotated[
        float,
        typer.Option("--max-latency-loss", min=0, help="Percent by which a request that is alone may become slower."),
    ] = 10.0,
    minutes: Annotated[float, typer.Option("--minutes", min=0.01, help="How long it may take.")] = 5.0,
    turn_seconds: Annotated[
        float, typer.Option("--turn-seconds", min=0.05, help="Of one measurement; longer ones are less noisy.")
    ] = 2.0,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--setting", metavar="NAME", help="Search only this one, e.g. alexnet.instances; may be repeated."
        ),
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option("--photographs", metavar="DIR", help="What to send; without it, photographs of the package."),
    ] = None,
    cores: Annotated[
        int | None, typer.Option("--cores", min=1, help="Of the server's machine; without it, of this one.")
    ] = None,
    cuda_graphs: Annotated[
        bool,
        typer.Option("--cuda-graphs", help="Try CUDA graphs, too (TensorRT only), and test that no answer changes."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what tuning.json holds instead of a table.")] = False,
) -> None:
    """Search the fastest settings of a repository's configs on a running server, and write them with the evidence."""
    from alexnet_build.tuning import report
    from alexnet_build.tuning.compare import Rules
    from alexnet_build.tuning.errors import TuningError
    from alexnet_build.tuning.record import TUNING_FILE, json_from_record
    from alexnet_build.tuning.run import Options
    from alexnet_build.tuning.run import tune as tune_repository
    from alexnet_build.tuning.settings import SEARCHED

    unknown = [name for name in setting or () if name not in SEARCHED]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is no setting; expected one of {', '.join(SEARCHED)}", param_hint="--setting"
        )

    def tell(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def heard(trial: Trial) -> None:
        tell(report.line_of(trial))

    # Whoever stops it, a server that others use gets its own settings back.
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    options = Options(
        repository=repository,
        url=url,
        concurrency=concurrency,
        rules=Rules(
            max_latency_loss=max_latency_loss / 100, max_p99_s=None if max_p99_ms is None else max_p99_ms / 1000
        ),
        seconds=minutes * 60,
        turn_s=turn_seconds,
        warm_up_s=turn_seconds / 4,
        settings=tuple(SEARCHED[name] for name in setting or ()),
        photographs=photographs,
        cores=cores,
        cuda_graphs=cuda_graphs,
        dry_run=dry_run,
        command=shlex.join(["alexnet-build", *sys.argv[1:]]),
    )
    try:
        record = tune_repository(options, tell=tell, heard=heard)
    except KeyboardInterrupt:
        raise TuningError(f"stopped before the end; nothing was written to {repository}") from None
    print(json_from_record(record) if as_json else report.table(record), end="" if as_json else "\n")
    if dry_run:
        tell("nothing was written (--dry-run)")
    else:
        tell(f"{repository}: configs and {TUNING_FILE} are written; a server that runs loads them when it starts again")
