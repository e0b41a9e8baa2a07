"""The command ``alexnet-build evaluate``."""

from __future__ import annotations

import sys
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alexnet_build.evaluation.sources import Answers, Source


class SplitName(str, Enum):
    """Folders of a data folder."""

    test = "test"
    val = "val"
    train = "train"


class FormatName(str, Enum):
    """What stdout gets."""

    table = "table"
    json = "json"


def evaluate(
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder with test/<label>/<photograph>, or with <label>/<photograph>."),
    ],
    split: Annotated[
        SplitName | None,
        typer.Option("--split", help="Without it: test/ if there is one, else val/, else the folder itself."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Answer with torch: imagenet, demo or a weights file.")
    ] = None,
    onnx_file: Annotated[
        Path | None,
        typer.Option(
            "--onnx", exists=True, dir_okay=False, help="Answer with ONNX Runtime on the CPU: what onnx exported."
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="HOST:PORT", help="Answer with a live server: its gRPC address."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for all numbers and for pictures; made if missing.")
    ] = None,
    output_format: Annotated[FormatName, typer.Option("--format", help="What to print.")] = FormatName.table,
    top_confusions: Annotated[
        int, typer.Option("--top-confusions", min=0, help="How many pairs of confused classes the table shows.")
    ] = 10,
    progress: Annotated[
        bool, typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.")
    ] = True,
) -> None:
    """Measure a network on labelled photographs; with several of --weights, --onnx, --url, side by side."""
    if weights is None and onnx_file is None and url is None:
        raise typer.BadParameter(
            "there is nothing to evaluate; expected --weights, --onnx, --url, or several of them",
            param_hint="--weights / --onnx / --url",
        )
    from alexnet_build.evaluation import report
    from alexnet_build.evaluation.photographs import labelled_photographs, network_targets, split_directory

    directory = split_directory(data, None if split is None else split.value)
    photographs = labelled_photographs(directory)
    print(f"evaluating on {len(photographs):,} photographs in {directory}", file=sys.stderr)
    sources = _sources(weights, onnx_file, url)
    for source in sources:  # before minutes of work
        network_targets(photographs, source.labels, source.origin)
    answers = _answers(sources, photographs.paths, progress)
    measured = report.measured_from_answers(answers, photographs)
    if output is not None:
        report.write_files(output, measured, photographs, directory)
        print(f"numbers and pictures are in {output}", file=sys.stderr)
    as_table = output_format is FormatName.table
    print(report.table(measured, top_confusions) if as_table else report.as_json(measured, directory))


def _sources(weights: str | None, onnx_file: Path | None, url: str | None) -> list[Source]:
    from alexnet_build.evaluation.sources import onnx_source, torch_source

    sources = []
    if weights is not None:
        from alexnet_build.weights import load_weights

        sources.append(torch_source(load_weights(weights), weights))
    if onnx_file is not None:
        sources.append(onnx_source(onnx_file))
    if url is not None:
        from alexnet_build.evaluation.server import server_source

        sources.append(server_source(url))
    return sources


def _answers(sources: Sequence[Source], paths: Sequence[Path], progress: bool) -> list[Answers]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from alexnet_build.evaluation.sources import answers_from_source

    class Rate(ProgressColumn):
        def render(self, task) -> Text:  # type: ignore[no-untyped-def]
            return Text(f"{task.finished_speed or task.speed or 0:.0f} photographs/s")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    answers = []
    with Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
        for source in sources:
            advance = partial(bar.advance, bar.add_task(source.name, total=len(paths)))
            answers.append(answers_from_source(source, paths, advance))
    return answers
