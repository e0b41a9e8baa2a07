"""A video, opened by PyAV, and how long it says it is. Called by: ``video_frames``."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING

from alexnet_client._errors import InvalidImage, InvalidSetting

from .video_sampling import seconds_from_clock
from .video_source import Opening

if TYPE_CHECKING:
    from av.container import InputContainer

PIPE_HINT = "An MP4 file with its index at the end cannot come through a pipe: name the file instead"


def require_av() -> None:
    """Raise what to type if PyAV is not there.

    Raises:
        InvalidSetting: PyAV is not installed.
    """
    try:
        importlib.import_module("av")
    except ImportError as error:
        raise InvalidSetting(
            f"videos are decoded by PyAV ({error})", hint="Install it with: pip install 'alexnet-triton[video]'"
        ) from error


def opened(opening: Opening, name: str) -> InputContainer:
    """The video, open.

    Raises:
        InvalidImage: It cannot be opened, or has no pictures.
    """
    import av

    try:
        container = av.open(opening.file, format=opening.format, options=opening.options)
    except av.InvalidDataError as error:
        raise InvalidImage(f"{name}: not a video, or damaged", hint=PIPE_HINT if opening.live else None) from error
    except av.FFmpegError as error:
        hint = "Cameras are open to the group video: sudo usermod -aG video $USER" if opening.camera else None
        raise InvalidImage(f"{name}: cannot be read ({error.strerror})", hint=hint) from error
    if not container.streams.video:
        raise InvalidImage(f"{name}: there are no pictures in it, only {_streams_of(container)}")
    return container


def _streams_of(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "an empty shell"


def length_s_of(container: InputContainer) -> float | None:
    """Seconds that the pictures should last; None if nothing says so."""
    stream = container.streams.video[0]
    lengths_s = []
    if stream.duration is not None and stream.time_base is not None:
        lengths_s.append(float(stream.duration * stream.time_base))
    elif "DURATION" in stream.metadata:  # Matroska
        with suppress(InvalidSetting):  # a tag is any text
            lengths_s.append(seconds_from_clock(stream.metadata["DURATION"]))
    if container.duration is not None and (lengths_s or len(container.streams) == 1):
        lengths_s.append(container.duration / 1_000_000)  # of all streams: sound may be longer than pictures
    return min(lengths_s, default=None)
