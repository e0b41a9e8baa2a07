"""Results of a video as subtitles: SubRip (.srt) and WebVTT (.vtt).

In: results with their times, in order. Out: a cue for every run of frames with the same best label, written as soon as
it has ended. Called by: ``video``.

SubRip has no standard; https://wiki.videolan.org/SubRip/ is what players read. WebVTT: https://www.w3.org/TR/webvtt1/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from alexnet_client._predictions import Prediction, Result

from .video_sampling import clock_parts

LAST_CUE_S = 1.0  # how long the last cue stays if nobody knows when its frame ends


@dataclass
class Cue:
    """A label on the screen.

    Attributes:
        label: The best label of every frame in it.
        start_s: When its first frame appears.
        scores: Of its frames.
    """

    label: str
    start_s: float
    scores: list[float]

    @property
    def text(self) -> str:
        """``tabby 82 %``, the mean of its frames; on one line, for an empty one would end the cue."""
        return f"{' '.join(self.label.split())} {sum(self.scores) / len(self.scores):.0%}".replace("%", " %")


class SubRipWriter:
    """Numbered cues, a comma before the milliseconds."""

    head = ""
    decimal_mark = ","

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._count = 0
        self._cue: Cue | None = None
        self._last_s = 0.0

    def begin(self) -> None:
        """What the file begins with."""
        self._stream.write(self.head)

    def write(self, time_s: float, result: Result) -> None:
        """One frame: it lengthens the cue, or ends it; one without a prediction leaves the screen empty."""
        self._last_s = time_s
        best = result.predictions[0] if result.predictions else None
        if self._cue is not None and best is not None and self._cue.label == _label(best):
            self._cue.scores.append(best.score)
            return
        self._end_cue(time_s)
        if best is not None:
            self._cue = Cue(_label(best), time_s, [best.score])

    def end(self, end_s: float | None) -> None:
        """The last cue, also when the run was interrupted.

        Args:
            end_s: When the last frame disappears; None if the run did not get there.
        """
        self._end_cue(self._last_s + LAST_CUE_S if end_s is None else max(end_s, self._last_s + 0.001))
        self._stream.flush()

    def _end_cue(self, end_s: float) -> None:
        if self._cue is None:
            return
        self._count += 1
        start, end = (self._time(seconds) for seconds in (self._cue.start_s, end_s))
        self._stream.write(f"{self._number()}{start} --> {end}\n{self._escaped(self._cue.text)}\n\n")
        self._stream.flush()
        self._cue = None

    def _time(self, seconds: float) -> str:
        hours, minutes, whole_s, thousandths = clock_parts(seconds)
        return f"{hours:02}:{minutes:02}:{whole_s:02}{self.decimal_mark}{thousandths:03}"

    def _number(self) -> str:
        return f"{self._count}\n"

    def _escaped(self, text: str) -> str:
        return text


class WebVttWriter(SubRipWriter):
    """A head line, a full stop before the milliseconds, no numbers."""

    head = "WEBVTT\n\n"
    decimal_mark = "."

    def _number(self) -> str:
        return ""

    def _escaped(self, text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _label(prediction: Prediction) -> str:
    return prediction.label or f"(class {prediction.index})"
