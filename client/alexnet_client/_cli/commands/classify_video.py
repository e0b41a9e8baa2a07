"""The command ``classify-video``."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from alexnet_client._cli.options import MOMENT_S, Connection, connected
from alexnet_client._config import DEFAULT_CONCURRENCY, DEFAULT_DEADLINE_S

FRAMES, OUTPUT = "Which frames", "What is written"


class VideoFormat(str, enum.Enum):
    """How ``classify-video`` writes its results."""

    jsonl = "jsonl"
    table = "table"
    srt = "srt"
    vtt = "vtt"


@connected
def classify_video(
    connection: Connection,
    video: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DEVICE|-", help="A video, a camera such as /dev/video0, or '-' for a video on stdin."
        ),
    ],
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            metavar="N",
            min=0.0,
            show_default="1",
            help="Frames for each second of the video; 0.1 is one in ten seconds.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Leave no frame out.", rich_help_panel=FRAMES)
    ] = False,
    key_frames: Annotated[
        bool,
        typer.Option(
            "--key-frames", help="Only frames that are stored whole; many times quicker.", rich_help_panel=FRAMES
        ),
    ] = False,
    start: Annotated[
        str,
        typer.Option("--start", metavar="TIME", help="Where to begin: 90, 1:30 or 0:01:30.", rich_help_panel=FRAMES),
    ] = "0",
    duration: Annotated[
        str | None,
        typer.Option("--duration", metavar="TIME", help="How much of it, as long.", rich_help_panel=FRAMES),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="Picture to ask a camera for: 1280x720.", rich_help_panel=FRAMES),
    ] = None,
    format: Annotated[
        VideoFormat,
        typer.Option("--format", help="JSON Lines, a table, or subtitles.", rich_help_panel=OUTPUT),
    ] = VideoFormat.jsonl,
    top: Annotated[
        int, typer.Option("--top", metavar="K", min=1, help="Labels for each frame.", rich_help_panel=OUTPUT)
    ] = 1,
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score",
            metavar="S",
            min=0.0,
            max=1.0,
            help="Leave out what is less probable.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0.0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, help="Frames under way at once.")
    ] = DEFAULT_CONCURRENCY,
    deadline: Annotated[
        float, typer.Option("--deadline", metavar="S", min=MOMENT_S, help="Seconds for each frame, tries included.")
    ] = DEFAULT_DEADLINE_S,
) -> None:
    """Classify the frames of a video or a camera, one a second, with their times. Ctrl-C ends a camera's."""
    from alexnet_client._cli.ending import FAILED
    from alexnet_client._cli.video import Plan, classify_video
    from alexnet_client._cli.video_sampling import Sampling, seconds_from_clock
    from alexnet_client._errors import InvalidSetting

    if every_frame and fps is not None:
        raise InvalidSetting(f"--every-frame and --fps {fps:g} contradict each other")
    rate = None if every_frame else 1.0 if fps is None else fps
    duration_s = None if duration is None else seconds_from_clock(duration)
    sampling = Sampling(rate, key_frames, seconds_from_clock(start), duration_s)
    plan = Plan(sampling, format.value, top, min_score, concurrency, size)
    if classify_video(video, plan, lambda: connection.classifier(deadline_s=deadline)):
        raise typer.Exit(FAILED)
