"""The command ``classify``: paths in, results on stdout, progress and a summary on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alexnet_client._classifier import Classifier
from alexnet_client._predictions import Result

from .ending import stderr_console
from .formats import CsvWriter, JsonLinesWriter, JsonWriter, Writer
from .paths import ImagePaths
from .table import TableWriter

MANY = 20  # a progress bar for fewer images is gone before it is read


def classify_paths(
    arguments: list[str],
    *,
    url: str,
    top_k: int,
    format: str,
    concurrency: int,
    deadline_s: float,
    model: str,
) -> int:
    """Classify what ``arguments`` mean and write the results; the number of images that failed.

    Raises:
        AlexNetClientError: The server cannot be used at all; asked before the first image.
        KeyboardInterrupt: After what was done has been written.
    """
    paths = ImagePaths(arguments, sys.stdin.buffer)
    writer = _writer(format, paths)
    messages = stderr_console()
    started_s, count, failed = time.monotonic(), 0, 0
    with Classifier(url, model=model, deadline_s=deadline_s) as classifier:
        classifier.labels()  # one clear error now, instead of the same one for every image
        writer.begin()
        results = classifier.classify_many(paths, top_k=top_k, concurrency=concurrency)
        try:
            with closing(results):
                for result in _with_progress(results, paths, messages):
                    writer.write(result)
                    count += 1
                    failed += result.error is not None
                    if result.error is not None and format != "table":
                        messages.print(f"failed: {_named(result)}", style="red", markup=False)
        finally:
            classifier.close()  # ends what is under way, so that an interrupted run does not wait for it
            writer.end()
    _summarise(messages, count, failed, paths.skipped, time.monotonic() - started_s)
    return failed


def _writer(format: str, paths: ImagePaths) -> Writer:
    if format == "table":
        return TableWriter(Console(highlight=False), paths.longest())
    writers: dict[str, Callable[[IO[str]], Writer]]
    writers = {"json": JsonWriter, "jsonl": JsonLinesWriter, "csv": CsvWriter}
    return writers[format](sys.stdout)


def _named(result: Result) -> str:
    """The error with the image's name in front, once."""
    assert result.error is not None
    message = result.error.message
    return message if message.startswith(result.image) else f"{result.image}: {message}"


def _with_progress(results: Iterable[Result], paths: ImagePaths, messages: Console) -> Iterator[Result]:
    """``results``, with a bar on stderr while they pass, if it is a terminal and they are many.

    Where the results themselves scroll over that terminal, they are the progress.
    """
    total = paths.count() if messages.is_terminal and not sys.stdout.isatty() else 0
    if total is not None and total < MANY:
        yield from results
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, rate="")
        started_s = time.monotonic()
        for count, result in enumerate(results, start=1):
            rate = count / max(time.monotonic() - started_s, 1e-9)
            progress.update(task, advance=1, rate=f"{rate:.0f} images/s")
            yield result


def _summarise(messages: Console, count: int, failed: int, skipped: int, elapsed_s: float) -> None:
    parts = [f"{count} {'image' if count == 1 else 'images'} in {elapsed_s:.1f} s"]
    if count >= MANY:
        parts.append(f"{count / elapsed_s:.0f} images/s")
    if failed:
        parts.append(f"{failed} failed")
    if skipped:
        parts.append(f"{skipped} other {'file' if skipped == 1 else 'files'} skipped")
    messages.print(", ".join(parts), style="red" if failed else "dim", markup=False)
