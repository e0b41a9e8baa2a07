"""Lists of paths: from a file, or from a pipe as they come. In: bytes. Out: paths, one at a time.

Called by: ``paths``. Lines end with a newline (``ls``), or each path with NUL (``find -print0``), which no name
can hold.
"""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Iterator
from typing import IO

from alexnet_client._errors import InvalidSetting
from alexnet_client._many import NOTHING_YET

STDIN = "-"
STDIN_POLL_S = 0.1  # how long a finished result may wait while the pipe is silent
STDIN_AHEAD = 1024  # paths read from the pipe and not yet used
CHUNK_BYTES = 65536
# What the server decodes. Only directories are filtered by it: a file that was named is always sent.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"})


def checked_list(name: str) -> None:
    """Nothing, if the list can be read.

    Raises:
        InvalidSetting: It cannot.
    """
    if name == STDIN:
        return
    try:
        with open(name, "rb"):
            pass
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


def paths_as_they_come(stdin: IO[bytes], null: bool = False) -> Iterator[str]:
    """The paths in ``stdin``, empty ones left out; ``NOTHING_YET`` while the next one is awaited.

    A thread reads ahead, because nothing else can tell whether a pipe has a line without waiting for it.
    """
    lines: queue.Queue[bytes | None] = queue.Queue(STDIN_AHEAD)
    threading.Thread(target=_read_lines, args=(stdin, null, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=STDIN_POLL_S)
        except queue.Empty:
            yield NOTHING_YET  # type: ignore[misc]  # the sentinel of classify_many
            continue
        if line is None:
            return
        if line:
            yield os.fsdecode(line)


def _read_lines(stdin: IO[bytes], null: bool, lines: queue.Queue[bytes | None]) -> None:
    """Unbuffered: a thread inside a buffered reader would hold its lock when the interpreter shuts down."""
    for line in _split(getattr(stdin, "raw", stdin), null):
        lines.put(line)
    lines.put(None)


def _split(raw: IO[bytes], null: bool) -> Iterator[bytes]:
    """Lines without their ends, or parts between NULs; the last needs no end."""
    rest = b""
    while chunk := raw.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\0" if null else b"\n")
        yield from whole if null else (line.removesuffix(b"\r") for line in whole)
    yield rest if null else rest.removesuffix(b"\r")
