"""What is said on stderr while ``classify`` runs and when it is done: a bar, failures, a summary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alexnet_client._predictions import Result

MANY = 20  # a progress bar for fewer images is gone before it is read


def with_progress(
    results: Iterable[Result], messages: Console, total: int | None, already: int = 0
) -> Iterator[Result]:
    """``results``, with a bar on stderr while they pass, if they are many.

    Args:
        results: They pass unchanged.
        messages: The console on stderr.
        total: How many images there are, those of an earlier run included; None if nobody knows.
        already: How many of them an earlier run did; rate and time left are of the others alone.
    """
    if total is not None and total - already < MANY:
        yield from results
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, completed=already, rate="")
        started_s = time.monotonic()
        for count, result in enumerate(results, start=1):
            rate = count / max(time.monotonic() - started_s, 1e-9)
            progress.update(task, advance=1, rate=f"{rate:.0f} images/s")
            yield result


def named_failure(result: Result) -> str:
    """The error with the image's name in front, once."""
    assert result.error is not None
    message = result.error.message
    return message if message.startswith(result.image) else f"{result.image}: {message}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def summary(count: int, elapsed_s: float, *, failed: int, without: int = 0, already: int = 0, skipped: int = 0) -> str:
    """One line: how many images, how fast, and what became of the others.

    Args:
        count: Images of this run.
        elapsed_s: Seconds it took.
        failed: How many of them failed.
        without: How many of them have no prediction that passes the filter.
        already: Images that an earlier run did.
        skipped: Files in directories that are no images.
    """
    parts = [f"{counted(count, 'image')} in {elapsed_s:.1f} s"]
    if count >= MANY:
        parts.append(f"{count / elapsed_s:.0f} images/s")
    if failed:
        parts.append(f"{failed} failed")
    if without:
        parts.append(f"{without} without such a prediction")
    if already:
        parts.append(f"{already} already done")
    if skipped:
        parts.append(f"{counted(skipped, 'other file')} skipped")
    return ", ".join(parts)
