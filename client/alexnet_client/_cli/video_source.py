"""What a video is opened with. In: a file, a camera, or ``-``. Out: what FFmpeg is told.

Called by: ``video_frames``. Nothing is opened here.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass, field

from alexnet_client._errors import InvalidImage, InvalidSetting

STDIN = "-"
VIDEO4LINUX_MAJOR = 81  # https://www.kernel.org/doc/Documentation/admin-guide/devices.txt
# A file may name others (playlists, lists of parts), and those must not lead into the network.
LOCAL_ONLY = {"protocol_whitelist": "file,pipe"}


@dataclass(frozen=True)
class Opening:
    """Arguments of ``av.open``, and what they mean for the reader.

    Attributes:
        file: FFmpeg's name of the source.
        format: Its format, where FFmpeg cannot find out; None where it can.
        options: FFmpeg's options.
        live: Frames come when they come, and there is no going back: a camera, a pipe.
        camera: The source is a camera.
    """

    file: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    live: bool = False
    camera: bool = False


def opening_from_source(source: str, size: str | None = None) -> Opening:
    """What ``source`` is, and how it is opened.

    Args:
        source: A file, a device such as ``/dev/video0``, or ``-`` for stdin.
        size: ``WIDTHxHEIGHT`` that a camera is asked for; None for what it gives by itself.

    Raises:
        InvalidImage: There is no such file or camera.
        InvalidSetting: A web address, a terminal, a size that is none, or a size for what is no camera.
    """
    if size is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
        raise InvalidSetting(f"{size!r} is no size of a picture; expected WIDTHxHEIGHT, such as 1280x720")
    opening = _opening(source, size)
    if size is not None and not opening.camera:
        raise InvalidSetting(f"--size is for cameras, and {source} is none; other videos have a size of their own")
    return opening


def _opening(source: str, size: str | None) -> Opening:
    if source == STDIN:
        if sys.stdin.isatty():
            raise InvalidSetting("stdin is a terminal, not a video", hint="Give a file, or a pipe: cat FILE | ... -")
        return Opening("pipe:0", options=dict(LOCAL_ONLY), live=True)
    if re.match(r"[a-z]+://", source):
        hint = f"Let FFmpeg fetch it: ffmpeg -i {source} -c copy -f mpegts - | alexnet-client classify-video -"
        raise InvalidSetting(f"{source}: this command reads no network streams", hint=hint)
    try:
        mode, device = (status := os.stat(source)).st_mode, status.st_rdev
    except OSError as error:
        device_hint = "See the cameras with: ls /dev/video*" if source.startswith("/dev/") else None
        what = "no such file" if device_hint is None else "no such camera"
        reason = what if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise InvalidImage(f"{source}: {reason}", hint=device_hint) from None
    if stat.S_ISDIR(mode):
        raise InvalidImage(f"{source}: a directory, not a video")
    if stat.S_ISCHR(mode) and os.major(device) == VIDEO4LINUX_MAJOR:
        return camera_opening(source, size)
    return Opening(f"file:{source}", options=dict(LOCAL_ONLY), live=not stat.S_ISREG(mode))


def camera_opening(device: str, size: str | None) -> Opening:
    """A camera of Linux, https://ffmpeg.org/ffmpeg-devices.html#video4linux2_002c-v4l2."""
    return Opening(device, "v4l2", {} if size is None else {"video_size": size}, live=True, camera=True)
