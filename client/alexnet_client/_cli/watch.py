"""The command ``watch``: images in as they arrive, results on stdout, until it is told to stop."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console

from alexnet_client._errors import InvalidSetting

from .arrivals import Arrivals
from .changes import changes_in
from .connection import Connection
from .ending import stderr_console, stopped_by_sigterm
from .output import writer_for
from .progress import counted, named_failure

TRY_ON = sys.maxsize  # an image waits for a server that is away as long as its deadline allows


@dataclass(frozen=True)
class Watch:
    """One run of ``watch``.

    Attributes:
        directories: Where images arrive.
        existing: Whether those that are there already are classified first.
        top_k: Labels asked for.
        format: table, jsonl or csv.
        concurrency: Images under way at once.
        deadline_s: Seconds for each image, a restart of the server included.
        settle_s: Seconds for which a complete file has not changed.
        poll_s: Seconds between two looks; None to be notified where that works.

    Raises:
        InvalidSetting: A directory is none.
    """

    directories: tuple[str, ...]
    existing: bool
    top_k: int
    format: str
    concurrency: int
    deadline_s: float
    settle_s: float
    poll_s: float | None

    def __post_init__(self) -> None:
        for directory in self.directories:
            if not os.path.isdir(directory):
                raise InvalidSetting(
                    f"{directory!r} is no directory",
                    hint="Name directories to watch; single files are classified by: alexnet-client classify",
                )


def watch_directories(watch: Watch, connection: Connection) -> int:
    """Classify what arrives until Ctrl-C or SIGTERM, which are how it is meant to end; the images that failed.

    Raises:
        AlexNetClientError: The server cannot be used when it is asked first.
    """
    messages = stderr_console()
    with connection.classifier(deadline_s=watch.deadline_s) as classifier:
        classifier.labels()  # one clear error now; later, a server that is away is waited for
    changes = changes_in(watch.directories, watch.poll_s)
    arrivals = Arrivals(
        watch.directories,
        changes,
        settle_s=watch.settle_s,
        say=lambda line: _say(messages, line, "yellow"),
    )
    if not watch.existing:
        arrivals.leave_out_existing()  # before anybody is told that what comes now is seen
    writer = writer_for(watch.format, None)
    how = "" if changes.poll_s is None else f" every {changes.poll_s:g} s ({changes.why})"
    count = failed = 0
    started_s = time.monotonic()
    with connection.classifier(deadline_s=watch.deadline_s, retries=TRY_ON) as classifier, stopped_by_sigterm():
        results = classifier.classify_many(arrivals, top_k=watch.top_k, concurrency=watch.concurrency, ordered=False)
        try:
            _say(messages, f"watching {', '.join(watch.directories)}{how}; Ctrl-C ends", "dim")
            writer.begin()
            with closing(results):
                for result in results:
                    count += 1  # before it is written: Ctrl-C may come as soon as the result is out
                    failed += result.error is not None
                    writer.write(result)
                    if result.error is not None and watch.format != "table":
                        _say(messages, f"failed: {named_failure(result)}", "red")
        except KeyboardInterrupt:
            pass
        finally:
            classifier.close()  # gives up what is under way
            writer.end()
    ending = f"stopped after {time.monotonic() - started_s:.0f} s: {counted(count, 'image')}"
    _say(messages, f"{ending}, {failed} failed" if failed else ending, "red" if failed else "dim")
    return failed


def _say(messages: Console, line: str, style: str) -> None:
    messages.print(line, style=style, markup=False)
