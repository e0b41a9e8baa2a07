"""``alexnet-client``: classify images on a Triton server from the command line.

    alexnet-client classify photographs/ --top 3

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import enum
import json
import sys
from typing import Annotated, Any

import typer

from ._config import DEFAULT_CONCURRENCY, DEFAULT_DEADLINE_S, DEFAULT_MODEL, DEFAULT_TOP_K, DEFAULT_URL

MOMENT_S = 0.001  # the shortest time that can be given

app = typer.Typer(
    name="alexnet-client",
    help="Classify images on a Triton server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="ALEXNET_URL",
        metavar="HOST:PORT[,HOST:PORT...]",
        help="gRPC address of the server; several are used in turn.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="Name of the ensemble.")]
Deadline = Annotated[float, typer.Option("--deadline", metavar="S", min=MOMENT_S, help="Seconds to answer in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


class Format(str, enum.Enum):
    """How ``classify`` writes its results."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class BenchFormat(str, enum.Enum):
    """How ``bench`` writes its results."""

    table = "table"
    json = "json"
    csv = "csv"


@app.command(epilog="Example: [bold]alexnet-client classify cat.jpg photographs/ 'scans/*.png' --format jsonl[/]")
def classify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Files, directories, patterns; '-' reads paths from stdin, one a line.",
        ),
    ],
    url: Url = DEFAULT_URL,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Labels for each image.")] = DEFAULT_TOP_K,
    format: Annotated[Format, typer.Option("--format", help="How to write results.")] = Format.table,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, help="Images under way at once.")
    ] = DEFAULT_CONCURRENCY,
    deadline: Annotated[
        float,
        typer.Option("--deadline", metavar="S", min=MOMENT_S, help="Seconds for each image, tries included."),
    ] = DEFAULT_DEADLINE_S,
    model: Model = DEFAULT_MODEL,
) -> None:
    """Classify images; a failed one is reported, and the others go on."""
    from ._cli.classify import classify_paths
    from ._cli.ending import FAILED, clean_ending

    with clean_ending():
        failed = classify_paths(
            paths,
            url=url,
            top_k=top,
            format=format.value,
            concurrency=concurrency,
            deadline_s=deadline,
            model=model,
        )
        if failed:
            raise typer.Exit(FAILED)


@app.command(epilog="Example: [bold]alexnet-client status --url gpu1:8001,gpu2:8001[/]")
def status(
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    deadline: Deadline = 5.0,
    model: Model = DEFAULT_MODEL,
) -> None:
    """Show every server: version, models, whether it classifies. Exit status 1 if one does not."""
    from ._addresses import split_urls
    from ._classifier import Classifier
    from ._cli.ending import FAILED, clean_ending, complain
    from ._cli.report import print_status, row_from_status
    from ._errors import AlexNetClientError

    with clean_ending():
        rows: list[dict[str, Any]] = []
        for single_url in split_urls(url):
            with Classifier(single_url, model=model, deadline_s=deadline, retries=0) as classifier:
                try:
                    answer = classifier.status()
                except AlexNetClientError as error:
                    rows.append(row_from_status(error, single_url))
                    complain(error)
                    continue
            rows.append(row_from_status(answer, single_url))
            if not as_json:
                print_status(_console(), answer)
        if as_json:
            print(json.dumps(rows, indent=2, ensure_ascii=False))
        if not all(row["serving"] for row in rows):
            raise typer.Exit(FAILED)


@app.command(epilog="Example: [bold]alexnet-client wait --timeout 120 && alexnet-client classify photographs/[/]")
def wait(
    url: Url = DEFAULT_URL,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=MOMENT_S, help="Seconds to wait.")] = 60.0,
    model: Model = DEFAULT_MODEL,
) -> None:
    """Wait until every server classifies: all models ready, and a test image answered."""
    import time

    from ._addresses import split_urls
    from ._classifier import Classifier
    from ._cli.ending import clean_ending, stderr_console

    with clean_ending():
        left_s = timeout
        for single_url in split_urls(url):
            with Classifier(single_url, model=model, retries=0) as classifier:
                started_s = time.monotonic()
                classifier.wait(max(left_s, MOMENT_S))
                left_s -= time.monotonic() - started_s
            stderr_console().print(f"{single_url} is ready", markup=False)


@app.command(epilog="Example: [bold]alexnet-client labels | grep -n terrier[/]")
def labels(
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    deadline: Deadline = DEFAULT_DEADLINE_S,
    model: Model = DEFAULT_MODEL,
) -> None:
    """List every label that the server can give, one a line, in the order of their index from 0."""
    from ._classifier import Classifier
    from ._cli.ending import clean_ending

    with clean_ending(), Classifier(url, model=model, deadline_s=deadline) as classifier:
        names = classifier.labels()
        print(json.dumps(names, ensure_ascii=False) if as_json else "\n".join(names))


@app.command(epilog="Example: [bold]alexnet-client bench photographs/ --concurrency 1,8,32 --seconds 10[/]")
def bench(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH...]",
            show_default=False,
            help="Files, directories, patterns; '-' reads paths from stdin. Without any, images are generated.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
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
    model: Model = DEFAULT_MODEL,
) -> None:
    """Measure images a second and latency, and where on the server the time goes."""
    from ._cli.bench import Plan, bench_paths, counts_from_text
    from ._cli.ending import FAILED, clean_ending

    with clean_ending():
        plan = Plan(counts_from_text(concurrency), seconds, warmup, top, deadline)
        if bench_paths(paths or [], plan, url=url, model=model, format=format.value):
            raise typer.Exit(FAILED)


def main() -> None:
    """Entry point of ``alexnet-client``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files that are not UTF-8 go out as they came
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        app(prog_name="alexnet-client")
    except KeyboardInterrupt:  # while modules were still being imported
        raise SystemExit(130) from None


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
