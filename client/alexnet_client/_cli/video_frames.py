"""A video in, its sampled frames out: upright, RGB, small. FFmpeg decodes, through PyAV.

Called by: ``video``. PyAV is imported when the first video is opened.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from alexnet_client._errors import InvalidImage, InvalidSetting

from .video_container import PIPE_HINT, length_s_of, opened, require_av
from .video_pixels import upright_pixels
from .video_sampling import Sampler, Sampling, clock
from .video_source import opening_from_source

if TYPE_CHECKING:
    import av
    import numpy
    from av.container import InputContainer

JUMP_S = 1.0  # times that go back by more are those of another recording, appended
SHORT_BY_S = 1.0  # headers round, and may speak of the sound's length


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        time_s: Seconds from the start of the video at which it appears.
        pixels: (height, width, 3) RGB uint8, upright, the short side at most 256.
    """

    time_s: float
    pixels: numpy.ndarray[Any, Any]


class VideoFrames:
    """The frames that ``sampling`` takes, in their order; to be iterated once.

    Args:
        source: A file, a camera such as ``/dev/video0``, or ``-`` for stdin.
        sampling: Which frames.
        size: ``WIDTHxHEIGHT`` that a camera is asked for.

    Attributes:
        name: For messages: ``source``, or ``stdin``.
        live: Frames come when they come: a camera, a pipe.
        length_s: Length of the video in seconds, once it is open; None if it does not say.
        end_s: Where the last frame that was decoded so far ends, in seconds.
        damage: What was found to be wrong with the video so far; it goes on as far as it can.

    Raises:
        InvalidSetting: PyAV is not installed, or an argument cannot be meant.
        InvalidImage: There is no such file or camera.
    """

    def __init__(self, source: str, sampling: Sampling, *, size: str | None = None) -> None:
        require_av()
        self.name = "stdin" if source == "-" else source
        self._sampling = sampling
        self._opening = opening_from_source(source, size)
        self._container: InputContainer | None = None
        self._damaged_places = 0
        self.live = self._opening.live
        self.length_s: float | None = None
        self.end_s = 0.0
        self.damage: list[str] = []

    def open(self) -> None:
        """Open it now, so that a fault shows at once; iterating does it otherwise.

        Raises:
            InvalidImage: It is no video, or cannot be read.
        """
        if self._container is None:
            self._container = opened(self._opening, self.name)
            self.length_s = length_s_of(self._container)

    def close(self) -> None:
        """Let go of the file or the camera."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __iter__(self) -> Iterator[Frame]:
        sampler, found = Sampler(self._sampling), False
        for frame, time_s, duration_s in self._decoded():
            tick_s, found = float(frame.time_base or 0), True
            if time_s + tick_s / 2 >= self._sampling.end_s:
                self.end_s = self._sampling.end_s
                break
            self.end_s = min(time_s + duration_s, self._sampling.end_s)
            if sampler.takes(time_s, tick_s):
                yield Frame(time_s, upright_pixels(frame, self._pixel_width()))
        else:
            self._note_what_is_missing(found)
        if self._damaged_places:
            places = "in one place" if self._damaged_places == 1 else f"in {self._damaged_places} places"
            self.damage.append(f"it is damaged {places}; frames near it are wrong or missing")

    def _note_what_is_missing(self, found: bool) -> None:
        """At the end of the video: whether it is where it should be."""
        if not found:
            hint = PIPE_HINT if self.live else None
            raise InvalidImage(f"{self.name}: not one frame of it can be decoded", hint=hint)
        if self._sampling.key_frames and self.length_s is not None:  # the last one says nothing of the end
            self.end_s = max(self.end_s, min(self.length_s, self._sampling.end_s))
        start_s = self._sampling.start_s
        if self.length_s is not None and self.end_s < min(self.length_s, self._sampling.end_s) - SHORT_BY_S:
            self.damage.append(f"it ends at {clock(self.end_s)}, and should at {clock(self.length_s)}")
        elif self.end_s <= start_s:
            raise InvalidSetting(f"--start is {clock(start_s)}, and the video ends at {clock(self.end_s)}")

    def _decoded(self) -> Iterator[tuple[av.VideoFrame, float, float]]:
        """Frames from the start of the stretch on, or from before it, with their times and lengths in seconds."""
        start_s = self._sampling.start_s
        if start_s > 0 and not self.live and self._sought(start_s):
            frames = self._frames_in_order()
            first = next(frames, None)
            if first is not None and first[1] <= start_s:
                yield first
                yield from frames
                return
            # the nearest index entry was too late, as in most recordings of broadcasts: from the beginning
            frames.close()
            self.close()
            self._damaged_places, self.damage = 0, []
        yield from self._frames_in_order()

    def _sought(self, time_s: float) -> bool:
        """Whether the container went to the last key frame before ``time_s``, as far as it knows."""
        import av

        self.open()
        assert self._container is not None
        try:
            self._container.seek((self._container.start_time or 0) + round(time_s * av.time_base))
        except av.FFmpegError:
            return False
        return True

    def _frames_in_order(self) -> Generator[tuple[av.VideoFrame, float, float], None, None]:
        self.open()
        assert self._container is not None
        container, stream = self._container, self._container.streams.video[0]
        stream.thread_type = "SLICE" if self.live else "AUTO"  # frames decoded side by side come late
        if self._sampling.key_frames:
            stream.codec_context.skip_frame = "NONKEY"
        period_s = float(1 / (stream.average_rate or stream.guessed_rate or Fraction(25)))
        first_s = None if container.start_time is None else container.start_time / 1_000_000
        last_s, jumped_s, count = 0.0, 0.0, 0
        for frame in self._frames(container):
            # a bare stream of pictures has no times but its rate
            stored_s = count * period_s if frame.time is None else frame.time
            first_s, count = stored_s if first_s is None else first_s, count + 1
            time_s = max(stored_s - first_s + jumped_s, 0.0)
            duration_s = float(frame.duration * (frame.time_base or 0)) if frame.duration else period_s
            if time_s < last_s - JUMP_S:
                jumped_s += last_s + duration_s - time_s
                time_s = last_s + duration_s
            last_s = time_s
            yield frame, time_s, duration_s

    def _frames(self, container: InputContainer) -> Iterator[av.VideoFrame]:
        """What can be decoded, past what cannot."""
        import av

        decoded = 0
        try:
            for packet in container.demux(container.streams.video[0]):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    frames, broken = [], True
                else:
                    broken = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
                # a stream that was joined in its middle begins with frames that lack what they build on
                self._damaged_places += broken and decoded > 0
                decoded += len(frames)
                yield from frames
        except av.FFmpegError as error:
            self.damage.append(f"it cannot be read on after {clock(self.end_s)} ({error.strerror})")

    def _pixel_width(self) -> Fraction:
        """Width of a stored pixel in heights of one; not 1 for anamorphic video."""
        assert self._container is not None
        return self._container.streams.video[0].sample_aspect_ratio or Fraction(1)
