"""Which frames of a video are classified, and times as people write them.

In: a rate, a stretch of the video, and the time of one frame after the other. Out: whether it is taken.
Called by: ``video_frames``, and ``video`` for what stands on the command line.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from alexnet_client._errors import InvalidSetting

_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class Sampling:
    """Which frames are taken.

    Attributes:
        fps: At most so many a second of the video; None for every frame.
        key_frames: Only those that are stored whole, which is much quicker to decode.
        start_s: The first second of the stretch, from the start of the video.
        duration_s: Length of the stretch in seconds; None for all that follows.

    Raises:
        InvalidSetting: A rate, a start or a length that cannot be meant.
    """

    fps: float | None = 1.0
    key_frames: bool = False
    start_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise InvalidSetting(f"{self.fps:g} frames a second cannot be taken; expected more than 0")
        if self.duration_s is not None and self.duration_s <= 0:
            raise InvalidSetting("a stretch of 0 seconds has no frames; expected a longer --duration")

    @property
    def end_s(self) -> float:
        """Where the stretch ends, in seconds from the start of the video; infinity for its end."""
        return math.inf if self.duration_s is None else self.start_s + self.duration_s


class Sampler:
    """Takes the first frame of every ``1 / fps`` seconds of the stretch.

    A picture that stands still for longer than that, as screen recordings have it, is therefore taken once.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._last_slot = -1

    def takes(self, time_s: float, tick_s: float) -> bool:
        """Whether the frame that is shown from ``time_s`` on is one to classify.

        Args:
            time_s: In the order of the video.
            tick_s: What times are rounded to: Matroska writes 0.033 for the second frame of 30 a second, and it
                still is the second.
        """
        since_start_s = time_s + tick_s / 2 - self._sampling.start_s
        if since_start_s < 0 or time_s + tick_s / 2 >= self._sampling.end_s:
            return False
        if self._sampling.fps is None:
            return True
        slot = math.floor(since_start_s * self._sampling.fps)
        taken = slot > self._last_slot
        self._last_slot = max(slot, self._last_slot)
        return taken


def seconds_from_clock(text: str) -> float:
    """Seconds from ``"90"``, ``"1:30"``, ``"0:01:30.5"``.

    Raises:
        InvalidSetting: It is none of these.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise InvalidSetting(f"{text!r} is no time; expected seconds, M:SS or H:MM:SS, such as 90 or 1:30.5")
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def clock(seconds: float) -> str:
    """``"1:30.5"`` and ``"1:02:03.000"`` as ``"1:30.500"`` and ``"1:02:03.000"``: to the millisecond."""
    hours, minutes, whole_s, thousandths = clock_parts(seconds)
    head = f"{hours}:{minutes:02}" if hours else str(minutes)
    return f"{head}:{whole_s:02}.{thousandths:03}"


def clock_parts(seconds: float) -> tuple[int, int, int, int]:
    """Hours, minutes, seconds, milliseconds; rounded once, so that nothing becomes 60 seconds."""
    whole_s, thousandths = divmod(round(max(seconds, 0.0) * 1000), 1000)
    minutes, rest_s = divmod(whole_s, 60)
    return (*divmod(minutes, 60), rest_s, thousandths)
