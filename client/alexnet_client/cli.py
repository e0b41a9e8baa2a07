"""``alexnet-client``: classify images on a Triton server from the command line.

    alexnet-client classify photographs/ --top 3

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import sys

import typer

from ._cli.commands.bench import bench
from ._cli.commands.classify import classify
from ._cli.commands.classify_video import classify_video
from ._cli.commands.config import config
from ._cli.commands.labels import labels
from ._cli.commands.status import status
from ._cli.commands.wait import wait
from ._cli.commands.watch import watch
from ._cli.configuration import ConfiguredCommand

app = typer.Typer(
    name="alexnet-client",
    help="Classify images on a Triton server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

SETTINGS = "Options can also be set in the environment and in a file: [bold]alexnet-client config --help[/]"

# In the order of --help, each with the example that its own --help ends with.
for command, example in (
    (classify, "classify cat.jpg photographs/ 'scans/*.png' --format jsonl"),
    (classify_video, "classify-video clip.mp4 --format srt > clip.srt"),
    (watch, "watch incoming/ --existing >> results.jsonl"),
    (status, "status --url gpu1:8001,gpu2:8001"),
    (wait, "wait --timeout 120 && alexnet-client classify photographs/"),
    (labels, "labels | grep -n terrier"),
    (bench, "bench photographs/ --concurrency 1,8,32 --seconds 10"),
    (config, "config --profile production"),
):
    app.command(cls=ConfiguredCommand, epilog=f"Example: [bold]alexnet-client {example}[/]\n\n{SETTINGS}")(command)


def main() -> None:
    """Entry point of ``alexnet-client``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files that are not UTF-8 go out as they came
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        app(prog_name="alexnet-client")
    except KeyboardInterrupt:  # while modules were still being imported
        raise SystemExit(130) from None
