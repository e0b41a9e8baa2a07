"""The command ``classify``: images in, results on stdout or in files, progress and a summary on stderr."""

from __future__ import annotations

import sys
import time
from contextlib import closing, nullcontext

from rich.console import Console

from alexnet_client._classifier import Classifier
from alexnet_client._predictions import Result

from .contact_sheet import ContactSheet
from .ending import interrupts_later, stderr_console, stopped_by_sigterm
from .files import is_regular
from .filters import Filter, labels_from_patterns
from .formats import Writer
from .job import Job
from .options import Connection
from .output import writer_for
from .path_lists import own_stdin
from .paths import ImagePaths
from .progress import counted, named_failure, summary, with_progress
from .resume import Earlier, RunSettings, about_run, check_record, labels_sha256, take_up, write_record
from .sort import Sorter


def classify_images(job: Job, connection: Connection) -> int:
    """Classify and write what ``job`` says; the number of images that failed, or could not be put where they belong.

    Raises:
        AlexNetClientError: The server cannot be used at all, or a file cannot be written; known before the
            first image.
        KeyboardInterrupt: After what was done has been written.
    """
    paths = ImagePaths(job.arguments, own_stdin(), lists=job.lists, null=job.null, leave_out=job.sort_into)
    paths.stdin_bytes()  # refused before anybody is asked
    messages = stderr_console()
    with (
        stopped_by_sigterm(),
        Classifier(
            **connection.keywords(), deadline_s=job.deadline_s, shrink=job.shrink, allow_urls=job.allow_urls
        ) as classifier,
    ):
        labels = classifier.labels()  # one clear error now, instead of the same one for every image
        only = labels_from_patterns(job.only_label, labels) if job.only_label else None
        run = Run(job, Filter(job.min_score, only), messages)
        run.open(paths, labels, _settings(job, classifier, labels, connection.model))
        paths.done = run.earlier.done
        results = classifier.classify_many(paths, top_k=job.top_k, concurrency=job.concurrency)
        try:
            with closing(results):
                total = _total(job, paths, messages)
                for result in with_progress(results, messages, total, paths.already):
                    run.add(result)
        except KeyboardInterrupt:
            run.say_how_to_go_on()
            raise
        finally:
            classifier.close()  # ends what is under way, so that an interrupted run does not wait for it
            run.end()
    return run.summarise(paths)


class Run:
    """Everything that one run writes, and what it counts.

    Attributes:
        earlier: What the run before left, of a run that is continued.
    """

    def __init__(self, job: Job, keep: Filter, messages: Console) -> None:
        self._job, self._keep, self._messages = job, keep, messages
        self._on_disk = job.output is not None and is_regular(job.output)
        self._started_s = time.monotonic()
        self._count = self._failed = self._without = 0
        self._sorter: Sorter | None = None
        self._sheet: ContactSheet | None = None
        self._writer: Writer
        self.earlier = Earlier()

    def open(self, paths: ImagePaths, labels: list[str], settings: RunSettings | None) -> None:
        """Open every file; when one cannot be, nothing of the others is left.

        Raises:
            InvalidSetting: One cannot be, or holds the results of other settings.
        """
        job = self._job
        try:
            if job.contact_sheet is not None:
                self._sheet = ContactSheet(job.contact_sheet, "Contact sheet", paths.stdin_bytes())
            if job.sort_into is not None:
                self._sorter = Sorter(job.sort_into, labels, link=job.link, dry_run=job.dry_run, say=self._say)
            if job.resume and settings is not None and job.output is not None:
                self.earlier = self._taken_up(job.output, settings, min(job.top_k, len(labels)))
            self._writer = writer_for(
                job.format,
                job.output,
                continued=bool(self.earlier.done),
                longest_name=paths.longest() if job.format == "table" else 0,
                about=about_run(settings) if settings is not None else None,
            )
            if job.resumable and settings is not None and job.output is not None:
                write_record(job.output, settings)  # not before the output, whose old one it may be about, was opened
            self._writer.begin()
        except BaseException:
            if self._sheet is not None:
                self._sheet.discard()
            raise

    def add(self, result: Result) -> None:
        """One image: everywhere where it belongs."""
        result = self._keep.kept(result)
        with interrupts_later() if self._on_disk else nullcontext():
            self._writer.write(result)
        self._count += 1
        self._beside(result)
        if result.error is not None:
            self._failed += 1
            if self._job.format != "table" or self._job.output is not None:
                self._say(f"failed: {named_failure(result)}", "red")
        elif not result.predictions:
            self._without += 1

    def end(self) -> None:
        """Close what is open, also after an interruption; a page or an array gets its end."""
        try:
            self._writer.end()
        finally:
            if self._sheet is not None:
                self._sheet.end()

    def say_how_to_go_on(self) -> None:
        """After an interruption: where the results are, and what continues them."""
        if self._job.output is not None:
            done = counted(self._count + len(self.earlier.done), "image")
            go_on = "; the same command with --resume goes on" if self._job.resumable else ""
            self._say(f"{done} in {self._job.output}{go_on}")

    def summarise(self, paths: ImagePaths) -> int:
        """Say what became of everything; how much of it failed."""
        faults = self._sorter.faults if self._sorter is not None else []
        for fault in faults:
            self._say(f"failed: {fault}", "red")
        line = summary(
            self._count,
            time.monotonic() - self._started_s,
            failed=self._failed,
            without=self._without,
            already=paths.already,
            skipped=paths.skipped,
        )
        self._say(line, "red" if self._failed else "dim")
        if self._sorter is not None:
            self._say(self._sorter.summary(), "dim")
        return self._failed + len(faults)

    def _taken_up(self, output: str, settings: RunSettings, complete: int) -> Earlier:
        check_record(output, settings)
        earlier = take_up(output, settings.format, complete, self._beside)
        if earlier.done or earlier.again:
            again = f", {earlier.again} tried again" if earlier.again else ""
            self._say(f"{counted(len(earlier.done), 'image')} already in {output}{again}", "dim")
        return earlier

    def _beside(self, result: Result) -> None:
        if self._sorter is not None:
            self._sorter.add(result)
        if self._sheet is not None:
            with interrupts_later():
                self._sheet.add(result)

    def _say(self, line: str, style: str = "") -> None:
        self._messages.print(line, style=style, markup=False)


def _settings(job: Job, classifier: Classifier, labels: list[str], model: str) -> RunSettings | None:
    """For the record of a run that can be continued, and for files that hold their own."""
    if not job.resumable and job.format != "parquet":
        return None
    versions = tuple(f"{model.name} {','.join(model.versions)}" for model in classifier.status().models)
    return RunSettings(
        format=job.format,
        model=model,
        versions=versions,
        labels_sha256=labels_sha256(labels),
        top=job.top_k,
        min_score=job.min_score,
        only_label=tuple(sorted(job.only_label)),
        shrink=job.shrink,
    )


def _total(job: Job, paths: ImagePaths, messages: Console) -> int | None:
    """How many images there are, those of an earlier run included; None if nobody knows.

    Nobody asks where no bar is wanted: where results scroll over that terminal, they are the progress.
    """
    if not messages.is_terminal or (job.output is None and sys.stdout.isatty()):
        return 0
    left = paths.count()
    return None if left is None else left + paths.already
