"""The images that a command line means. In: files, directories, patterns, ``-``. Out: paths, one at a time.

Called by: ``classify``. Nothing is opened here; a path that does not exist is passed on, so that it fails as
one image and not as the whole run.
"""

from __future__ import annotations

import glob
import itertools
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import IO

from alexnet_client._many import NOTHING_YET

# What the server decodes. Only directories are filtered by it: a file that was named is always sent.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"})
STDIN = "-"
STDIN_POLL_S = 0.1  # how long a finished result may wait while the pipe is silent
STDIN_AHEAD = 1024  # paths read from the pipe and not yet used


class ImagePaths:
    """Every image path that ``arguments`` mean, in their order, directories sorted.

    Attributes:
        skipped: Files in directories that were left out so far because they are no images by their suffix.
    """

    def __init__(self, arguments: Iterable[str], stdin: IO[bytes]) -> None:
        self._arguments = list(arguments)
        self._stdin = stdin
        self.skipped = 0

    def __iter__(self) -> Iterator[str]:
        self.skipped = 0
        for argument in self._arguments:
            if argument == STDIN:
                yield from lines_as_they_come(self._stdin)
            elif os.path.isdir(argument):
                yield from self._walk(argument)
            elif glob.has_magic(argument) and not os.path.lexists(argument):
                yield from self._matches(argument)
            else:
                yield argument

    def count(self) -> int | None:
        """How many there are; None if they come from stdin, which can be read only once."""
        return None if STDIN in self._arguments else sum(1 for _ in self)

    def longest(self) -> int:
        """Length of the longest of the first thousand paths; 0 if they come from stdin."""
        if STDIN in self._arguments:
            return 0
        return max((len(path) for path in itertools.islice(self, 1000)), default=0)

    def _matches(self, pattern: str) -> Iterator[str]:
        found = sorted(glob.glob(pattern, recursive=True))
        if not found:
            yield pattern  # fails as "no such file", by the name that was typed
        for path in found:
            if os.path.isdir(path):
                # of "**" every directory is a match too, and so is every file in it
                if "**" not in pattern:
                    yield from self._walk(path)
            else:
                yield path

    def _walk(self, directory: str) -> Iterator[str]:
        for folder, folders, files in os.walk(directory):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith("."):
                    yield os.path.join(folder, name)
                else:
                    self.skipped += 1


def lines_as_they_come(stdin: IO[bytes]) -> Iterator[str]:
    """The lines of ``stdin``, empty ones left out; ``NOTHING_YET`` while the next one is awaited.

    A thread reads ahead, because nothing else can tell whether a pipe has a line without waiting for it.
    """
    lines: queue.Queue[bytes | None] = queue.Queue(STDIN_AHEAD)
    threading.Thread(target=_read_lines, args=(stdin, lines), daemon=True).start()
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


def _read_lines(stdin: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    """Unbuffered: a thread inside a buffered reader would hold its lock when the interpreter shuts down."""
    raw = getattr(stdin, "raw", stdin)
    rest = b""
    while chunk := raw.read(65536):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            lines.put(line.removesuffix(b"\r"))
    lines.put(rest.removesuffix(b"\r"))
    lines.put(None)
