"""The command ``classify``."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from alexnet_client._cli.options import MOMENT_S, Connection, connected
from alexnet_client._config import DEFAULT_CONCURRENCY, DEFAULT_DEADLINE_S, DEFAULT_TOP_K

IMAGES, RESULTS, SORTING = "Images", "Results", "For the eye, and for folders"


class Format(str, enum.Enum):
    """How ``classify`` writes its results."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


class Link(str, enum.Enum):
    """How ``--sort-into`` links."""

    hard = "hard"
    symbolic = "symbolic"


@connected
def classify(
    connection: Connection,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files, directories (searched recursively), patterns; '-' is an image on stdin.",
        ),
    ] = None,
    from_file: Annotated[
        list[str] | None,
        typer.Option(
            "--from-file",
            metavar="LIST",
            help="A file of paths, one a line; '-' for such a list on stdin. May be repeated.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    null: Annotated[
        bool,
        typer.Option(
            "--null", "-0", help="Paths in lists end with NUL, as find -print0 writes them.", rich_help_panel=IMAGES
        ),
    ] = False,
    shrink: Annotated[
        bool,
        typer.Option("--shrink", help="Send large images at a smaller size; needs Pillow.", rich_help_panel=IMAGES),
    ] = False,
    allow_urls: Annotated[
        bool,
        typer.Option("--allow-urls", help="Download what begins with http:// or https://.", rich_help_panel=IMAGES),
    ] = False,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", metavar="N", min=1, help="Images under way at once.", rich_help_panel=IMAGES),
    ] = DEFAULT_CONCURRENCY,
    deadline: Annotated[
        float,
        typer.Option(
            "--deadline",
            metavar="S",
            min=MOMENT_S,
            help="Seconds for each image, tries included.",
            rich_help_panel=IMAGES,
        ),
    ] = DEFAULT_DEADLINE_S,
    top: Annotated[
        int, typer.Option("--top", metavar="K", min=1, help="Labels for each image.", rich_help_panel=RESULTS)
    ] = DEFAULT_TOP_K,
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score",
            metavar="S",
            min=0,
            max=1,
            help="Of these, only those at least so probable.",
            rich_help_panel=RESULTS,
        ),
    ] = 0.0,
    only_label: Annotated[
        list[str] | None,
        typer.Option(
            "--only-label",
            metavar="NAME",
            help="Of these, only this one; a pattern such as '*terrier' for several. May be repeated.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            show_default="by the suffix of --output, or table",
            help="How to write results; parquet needs --output.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to, instead of stdout.", rich_help_panel=RESULTS),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.", rich_help_panel=RESULTS)
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the FILE of a run that was stopped (jsonl, csv); failed images are tried again.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    contact_sheet: Annotated[
        str | None,
        typer.Option(
            "--contact-sheet",
            metavar="FILE.html",
            help="A page of all images with labels and scores.",
            rich_help_panel=SORTING,
        ),
    ] = None,
    sort_into: Annotated[
        str | None,
        typer.Option(
            "--sort-into",
            metavar="DIR",
            help="Copy images into DIR/<label>/; nothing is overwritten.",
            rich_help_panel=SORTING,
        ),
    ] = None,
    link: Annotated[
        Link | None, typer.Option("--link", help="Link them instead of copying.", rich_help_panel=SORTING)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go where.", rich_help_panel=SORTING)
    ] = False,
) -> None:
    """Classify images; a failed one is reported, and the others go on."""
    from alexnet_client._cli.classify import classify_images
    from alexnet_client._cli.ending import FAILED
    from alexnet_client._cli.job import Job
    from alexnet_client._cli.output import STDOUT, format_from

    job = Job(
        arguments=tuple(paths or ()),
        lists=tuple(from_file or ()),
        null=null,
        top_k=top,
        min_score=min_score,
        only_label=tuple(only_label or ()),
        format=format_from(None if format is None else format.value, output),
        output=None if output == STDOUT else output,
        overwrite=overwrite,
        resume=resume,
        sort_into=sort_into,
        link=None if link is None else link.value,
        dry_run=dry_run,
        contact_sheet=contact_sheet,
        shrink=shrink,
        allow_urls=allow_urls,
        concurrency=concurrency,
        deadline_s=deadline,
    )
    if classify_images(job, connection):
        raise typer.Exit(FAILED)
