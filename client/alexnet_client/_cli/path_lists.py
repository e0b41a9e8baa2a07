"""Lists of paths: from a file, or from a pipe as they come. In: bytes. Out: paths, one at a time.

Called by: ``paths``. Lines end with a newline (``ls``), or each path with NUL (``find -print0``), which no name
can hold.
"""

from __future__ import annotations

import errno
import io
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import IO

from alexnet_client._errors import AlexNetClientError, InvalidSetting
from alexnet_client._many import NOTHING_YET

from .files import is_regular

STDIN = "-"
STDIN_POLL_S = 0.1  # how long a finished result may wait while the pipe is silent
STDIN_AHEAD = 1024  # paths read from the pipe and not yet used
CHUNK_BYTES = 65536
# What the server decodes. Only directories are filtered by it: a file that was named is always sent.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"})


def own_stdin() -> IO[bytes]:
    """The bytes on stdin; none where it was closed (``<&-``)."""
    return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


def is_read_once(name: str) -> bool:
    """Whether the list is a pipe: ``-``, ``/dev/stdin``, ``<(find ...)``, a named one."""
    return name == STDIN or not is_regular(name)


def checked_list(name: str) -> None:
    """Nothing, if the list can be read. A pipe is not opened: its writer would notice.

    Raises:
        InvalidSetting: It cannot.
    """
    if name == STDIN:
        return
    try:
        if not is_read_once(name) or os.path.isdir(name):
            with open(name, "rb"):
                pass
        elif not os.access(name, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InvalidSetting(f"{name}: the list of paths cannot be read ({error.strerror})") from error


def list_in_bytes(image_bytes: bytes) -> str | None:
    """The first path, if what should have been an image is plainly a list of paths; else None."""
    first = os.fsdecode(re.split(rb"[\r\n\0]", image_bytes[:4096].lstrip(), maxsplit=1)[0])
    if not first.isprintable():
        return None
    return first if has_image_suffix(first) or (first and os.path.lexists(first)) else None


def has_image_suffix(path: str) -> bool:
    """Whether a path names an image, as far as its suffix says."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def paths_in_file(name: str, null: bool = False) -> Iterator[str]:
    """The paths in a file, empty ones left out."""
    with open(name, "rb", buffering=0) as file:
        yield from map(os.fsdecode, filter(None, _split(file, null)))


def paths_as_they_come(pipe: IO[bytes] | str, null: bool = False) -> Iterator[str]:
    """The paths in ``pipe``, empty ones left out; ``NOTHING_YET`` while the next one is awaited.

    A thread reads ahead, because nothing else can tell whether a pipe has a line without waiting for it; nor
    whether a named one, which may be given by its name, has a writer.

    Raises:
        AlexNetClientError: It cannot be read to its end.
    """
    lines: queue.Queue[bytes | OSError | None] = queue.Queue(STDIN_AHEAD)
    threading.Thread(target=_read_lines, args=(pipe, null, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=STDIN_POLL_S)
        except queue.Empty:
            yield NOTHING_YET  # type: ignore[misc]  # the sentinel of classify_many
            continue
        if line is None:
            return
        if isinstance(line, OSError):
            name = pipe if isinstance(pipe, str) else "stdin"
            raise AlexNetClientError(f"{name}: the list of paths cannot be read ({line.strerror or line})") from line
        if line:
            yield os.fsdecode(line)


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """What is in ``stream`` until its end; a pipe that another program left non-blocking is waited for."""
    # unbuffered: a thread inside a buffered reader would hold its lock when the interpreter shuts down
    raw = getattr(stream, "raw", stream)
    while (chunk := raw.read(CHUNK_BYTES)) != b"":
        if chunk is None:
            select.select([raw], [], [])
        else:
            yield chunk


def _read_lines(pipe: IO[bytes] | str, null: bool, lines: queue.Queue[bytes | OSError | None]) -> None:
    try:
        with open(pipe, "rb", buffering=0) if isinstance(pipe, str) else nullcontext(pipe) as stream:
            for line in _split(stream, null):
                lines.put(line)
    except OSError as error:
        lines.put(error)
    else:
        lines.put(None)


def _split(stream: IO[bytes], null: bool) -> Iterator[bytes]:
    """Lines without their ends, or parts between NULs; the last needs no end."""
    rest = b""
    for chunk in chunks(stream):
        *whole, rest = (rest + chunk).split(b"\0" if null else b"\n")
        yield from whole if null else (line.removesuffix(b"\r") for line in whole)
    yield rest if null else rest.removesuffix(b"\r")
