"""The command ``classify-video``: a video in, labels with their times on stdout, progress and a summary on stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from alexnet_client._classifier import Classifier
from alexnet_client._config import DEFAULT_CONCURRENCY
from alexnet_client._errors import InvalidSetting
from alexnet_client._images import ImageInput
from alexnet_client._many import NOTHING_YET
from alexnet_client._predictions import Result

from .ending import stderr_console
from .filters import Filter
from .live import as_they_come
from .subtitles import SubRipWriter, WebVttWriter
from .video_formats import JsonLinesWriter, TableWriter, VideoWriter
from .video_frames import Frame, VideoFrames
from .video_sampling import Sampling, clock

TimedResult: TypeAlias = tuple[float, Result]

SUBTITLES = {"srt": SubRipWriter, "vtt": WebVttWriter}


@dataclass(frozen=True)
class Plan:
    """What is done with a video.

    Attributes:
        sampling: Which frames are classified.
        format: ``jsonl``, ``table``, ``srt`` or ``vtt``.
        top_k: Labels for each frame.
        min_score: Predictions with a lower score are left out.
        concurrency: Frames under way at once.
        size: ``WIDTHxHEIGHT`` that a camera is asked for.

    Raises:
        InvalidSetting: More than one label for each frame in a format that shows one.
    """

    sampling: Sampling = field(default_factory=Sampling)
    format: str = "jsonl"
    top_k: int = 1
    min_score: float = 0.0
    concurrency: int = DEFAULT_CONCURRENCY
    size: str | None = None

    def __post_init__(self) -> None:
        if self.format in SUBTITLES and self.top_k > 1:
            raise InvalidSetting(
                f"--top {self.top_k} does not go with --format {self.format}: a cue has the best label"
            )


def classify_video(source: str, plan: Plan, connect: Callable[[], Classifier]) -> int:
    """Classify the frames of ``source`` and write the results; the number of failures, damage to the video included.

    Args:
        source: A file, a camera such as ``/dev/video0``, or ``-`` for stdin.
        plan: What is done with it.
        connect: Makes the client.

    Raises:
        AlexNetClientError: The video or the server cannot be used at all.
        KeyboardInterrupt: After what was done has been written.
    """
    frames = VideoFrames(source, plan.sampling, size=plan.size)
    writer, messages = _writer(plan.format, source), stderr_console()
    started_s, count, failed, end_s = time.monotonic(), 0, 0, None
    with connect() as classifier:
        classifier.labels()  # one clear error now, instead of the same one for every frame
        if not frames.live:
            frames.open()
        writer.begin()
        results = timed_results(classifier, frames, plan)
        try:
            with closing(results):
                for time_s, result in _with_progress(results, frames, plan.sampling, messages):
                    writer.write(time_s, result)
                    count += 1
                    failed += result.error is not None
                    if result.error is not None and plan.format != "table":
                        messages.print(f"failed: {clock(time_s)}: {result.error.message}", style="red", markup=False)
            end_s = frames.end_s
        finally:
            classifier.close()  # ends what is under way, so that an interrupted run does not wait for it
            writer.end(end_s)
            if not frames.live:  # a pipe or a camera may be waited on by its thread
                frames.close()
    for damage in frames.damage:
        messages.print(f"{frames.name}: {damage}", style="red", markup=False)
    _summarise(messages, count, failed, frames.end_s - plan.sampling.start_s, time.monotonic() - started_s)
    return failed + len(frames.damage)


def timed_results(classifier: Classifier, frames: VideoFrames, plan: Plan) -> Generator[TimedResult, None, None]:
    """Every frame's time in seconds with its result, in order; no more frames are held than are under way."""
    times_s: deque[float] = deque()

    def images(sampled: Iterable[Frame]) -> Iterator[ImageInput]:
        for frame in sampled:
            if cast("object", frame) is NOTHING_YET:
                yield cast("ImageInput", frame)
            else:
                times_s.append(frame.time_s)
                yield frame.pixels

    kept = Filter(min_score=plan.min_score).kept
    sampled = as_they_come(frames) if frames.live else iter(frames)
    with closing(classifier.classify_many(images(sampled), top_k=plan.top_k, concurrency=plan.concurrency)) as results:
        for result in results:
            yield times_s.popleft(), kept(result)


def _writer(format: str, source: str) -> VideoWriter:
    if format in SUBTITLES:
        return SUBTITLES[format](sys.stdout)
    if format == "table":
        return TableWriter(Console(highlight=False))
    return JsonLinesWriter(sys.stdout, source)


def _with_progress(
    results: Iterable[TimedResult], frames: VideoFrames, sampling: Sampling, messages: Console
) -> Iterator[TimedResult]:
    """``results``, with the time in the video and its length on stderr, if that is a terminal of its own."""
    if not messages.is_terminal or sys.stdout.isatty():
        yield from results
        return
    stretch_s = min(sampling.end_s, frames.length_s or float("inf")) - sampling.start_s
    total_s = stretch_s if stretch_s < float("inf") else None
    of = f" of {clock(sampling.start_s + total_s)}" if total_s else ""
    columns = [TextColumn("{task.description}"), TextColumn("{task.fields[rate]}")]
    if total_s:
        columns = [BarColumn(), *columns, TimeRemainingColumn()]  # type: ignore[list-item]
    with Progress(*columns, console=messages, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total_s, rate="")
        started_s = time.monotonic()
        for count, (time_s, result) in enumerate(results, start=1):
            rate = count / max(time.monotonic() - started_s, 1e-9)
            at = f"{clock(time_s)}{of}"
            progress.update(task, completed=time_s - sampling.start_s, description=at, rate=f"{rate:.1f} frames/s")
            yield time_s, result


def _summarise(messages: Console, count: int, failed: int, stretch_s: float, elapsed_s: float) -> None:
    frames = "1 frame" if count == 1 else f"{count} frames"
    parts = [f"{frames} from {clock(stretch_s)[:-2]} of video in {elapsed_s:.1f} s"]
    parts.append(f"{count / max(elapsed_s, 1e-9):.1f} frames/s")
    if failed:
        parts.append(f"{failed} failed")
    messages.print(", ".join(parts), style="red" if failed else "dim", markup=False)
