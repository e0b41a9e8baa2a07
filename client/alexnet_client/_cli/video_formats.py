"""Results of a video as JSON Lines and as a table. In: results with their times, in order. Out: text, as they come.

Called by: ``video``. Subtitles are in ``subtitles``.
"""

from __future__ import annotations

import json
from typing import IO, Protocol

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from alexnet_client._predictions import Result

from .formats import row_from_result
from .table import bar
from .video_sampling import clock

TIME_WIDTH, LABEL_WIDTH, SCORE_WIDTH, BAR_WIDTH, GAP = 11, 36, 7, 20, "  "
# a label must not move the cursor or change colours
CONTROL = dict.fromkeys([*range(32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")


class VideoWriter(Protocol):
    """Writes the results of a video in one format."""

    def begin(self) -> None:
        """Before the first frame."""

    def write(self, time_s: float, result: Result) -> None:
        """One frame, that appears ``time_s`` seconds after the start of the video."""

    def end(self, end_s: float | None) -> None:
        """After the last frame, which disappears at ``end_s``; None if the run was interrupted before that."""


class JsonLinesWriter:
    """One line a frame, flushed, so that a reader at the other end of a pipe sees it now.

    Args:
        stream: Where to.
        video: Name of the video, which every line carries.
    """

    def __init__(self, stream: IO[str], video: str) -> None:
        self._stream = stream
        self._video = video

    def begin(self) -> None:
        """Nothing."""

    def write(self, time_s: float, result: Result) -> None:
        """The row that ``classify`` writes, with the video and the time in the place of the image."""
        row = row_from_result(result)
        row = {
            "video": self._video,
            "time_s": round(time_s, 3),
            "predictions": row["predictions"],
            "error": row["error"],
        }
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()

    def end(self, end_s: float | None) -> None:
        """Nothing."""


class TableWriter:
    """Time, labels with their scores, and on a terminal a bar: a line a prediction."""

    def __init__(self, console: Console) -> None:
        self._console = console
        spare = console.width - TIME_WIDTH - LABEL_WIDTH - SCORE_WIDTH - 3 * len(GAP)
        self._bar_width = max(0, min(spare, BAR_WIDTH)) if console.is_terminal else 0

    def begin(self) -> None:
        """The heads of the columns."""
        heads = ("time".rjust(TIME_WIDTH), "label".ljust(LABEL_WIDTH), "score".rjust(SCORE_WIDTH))
        self._print(Text(GAP.join(heads), style="bold"))

    def write(self, time_s: float, result: Result) -> None:
        """One frame; the time is on its first line."""
        time = Text(clock(time_s).rjust(TIME_WIDTH), style="cyan")
        if result.error is not None:
            self._print(Text.assemble(time, GAP, (f"failed: {result.error.message}".translate(CONTROL), "red")))
        elif not result.predictions:
            self._print(Text.assemble(time, GAP, ("-", "dim")))
        for rank, prediction in enumerate(result.predictions):
            label = _fit((prediction.label or f"(class {prediction.index})").translate(CONTROL), LABEL_WIDTH)
            line = Text.assemble(time, GAP, (label, "bold" if rank == 0 else ""), GAP)
            line.append(f"{prediction.score:.4f}".rjust(SCORE_WIDTH))
            if self._bar_width:
                line.append(GAP + bar(prediction.score, self._bar_width), style="bright_black" if rank else "green")
            self._print(line)
            time = Text(" " * TIME_WIDTH)

    def end(self, end_s: float | None) -> None:
        """Nothing."""

    def _print(self, line: Text) -> None:
        line.rstrip()
        if self._console.is_terminal:
            self._console.print(line, soft_wrap=True, highlight=False)
        else:
            print(line.plain, file=self._console.file, flush=True)


def _fit(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"
