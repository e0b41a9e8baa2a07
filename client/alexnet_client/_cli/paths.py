"""The images that a command line means. In: files, directories, patterns, lists, ``-``. Out: one image at a time.

Called by: ``classify`` and ``bench``. But for stdin and lists nothing is opened here; a path that does not exist
is passed on, so that it fails as one image and not as the whole run.
"""

from __future__ import annotations

import glob
import io
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import IO

from alexnet_client._errors import InvalidSetting

from .files import is_regular
from .path_lists import (
    STDIN,
    checked_list,
    chunks,
    has_image_suffix,
    is_read_once,
    list_in_bytes,
    paths_as_they_come,
    paths_in_file,
)

STDIN_ONCE = "stdin can be read only once; name '-' once, as an image or as a list"
_EVERY_FILE = re.compile(r"(^|/)\*\*(/\*)?$")  # patterns that match each file below their directories themselves


class StdinImage(io.BytesIO):
    """The image that came through stdin; its name in results is ``-``, as it was typed."""

    name = STDIN


class ImagePaths:
    """Every image that was named, in order: ``arguments`` first, directories sorted, then the lists.

    Args:
        arguments: Files, directories, patterns; ``-`` is one image, its bytes.
        stdin: Where ``-`` is read from.
        lists: Files of paths, one a line; ``-`` is such a list from stdin.
        null: The paths in lists end with NUL instead of a newline.
        leave_out: A directory that is never searched, because this run writes into it.

    Attributes:
        skipped: Files in directories that were left out so far because they are no images by their suffix.
        done: Paths that are left out, because they were classified by an earlier run.
        already: How many were left out for that so far.

    Raises:
        InvalidSetting: A list cannot be read, or stdin is wanted twice.
    """

    def __init__(
        self,
        arguments: Iterable[str],
        stdin: IO[bytes],
        *,
        lists: Iterable[str] = (),
        null: bool = False,
        leave_out: str | None = None,
    ) -> None:
        self._arguments, self._lists, self._null = list(arguments), list(lists), null
        self._stdin = stdin
        self._image_bytes: bytes | None = None
        self._leave_out = None if leave_out is None else os.path.join(os.path.realpath(leave_out), "")
        self.skipped = self.already = 0
        self.done: Collection[str] = frozenset()
        if (self._arguments + self._lists).count(STDIN) > 1:
            raise InvalidSetting(STDIN_ONCE)
        for name in self._lists:
            checked_list(name)

    def __iter__(self) -> Iterator[str]:
        """The paths, ``NOTHING_YET`` while a pipe is silent, and a ``StdinImage`` for ``-``."""
        self.skipped = self.already = 0
        for path in self._all():
            if path in self.done:
                self.already += 1
            else:
                yield path

    def count(self) -> int | None:
        """How many there are; None if they come through a pipe, which can be read only once."""
        return None if any(map(is_read_once, self._lists)) else sum(1 for _ in self)

    def longest(self) -> int:
        """Length of the longest of the first thousand paths; 0 if they come through a pipe."""
        if any(map(is_read_once, self._lists)):
            return 0
        names = (STDIN if isinstance(path, StdinImage) else path for path in itertools.islice(self, 1000))
        return max(map(len, names), default=0)

    def stdin_bytes(self) -> bytes | None:
        """The bytes of the image ``-``, read once; None if it was not named.

        Raises:
            InvalidSetting: They are plainly a list of paths, or nobody pipes anything in.
        """
        if self._image_bytes is None and STDIN in self._arguments:
            if self._stdin.isatty():
                raise InvalidSetting(
                    "'-' is the bytes of one image, and stdin is a terminal",
                    hint="Pipe one in: alexnet-client classify - < cat.jpg",
                )
            image_bytes = b"".join(chunks(self._stdin))
            first = list_in_bytes(image_bytes)
            if first is not None:
                null = " --null" if b"\0" in image_bytes else ""
                raise InvalidSetting(
                    f"'-' is the bytes of one image, and stdin is a list of paths, from {first!r}",
                    hint=f"Read a list with: alexnet-client classify --from-file -{null}",
                )
            self._image_bytes = image_bytes
        return self._image_bytes

    def _all(self) -> Iterator[str]:
        for argument in self._arguments:
            if argument == STDIN:
                yield StdinImage(self.stdin_bytes() or b"")  # type: ignore[misc]  # any image will do
            elif os.path.isdir(argument):
                yield from self._walk(argument)
            elif glob.has_magic(argument) and not os.path.lexists(argument):
                yield from self._matches(argument)
            else:
                yield argument
        for name in self._lists:
            if is_read_once(name):
                yield from paths_as_they_come(self._stdin if name == STDIN else name, self._null)
            else:
                yield from paths_in_file(name, self._null)

    def _matches(self, pattern: str) -> Iterator[str]:
        found = sorted(glob.glob(pattern, recursive=True))
        if not found:
            yield pattern  # fails as "no such file", by the name that was typed
        walked: set[str] = set()
        for path in found:
            if os.path.isdir(path):
                if not _EVERY_FILE.search(pattern):
                    yield from self._walk(path, walked)
                elif not os.access(path, os.R_OK):  # of which glob is silent
                    yield path
            elif not self._is_left_out(os.path.dirname(path)) and not (
                os.path.join(os.path.dirname(path), "") in walked and _is_image(path)
            ):
                yield path

    def _walk(self, directory: str, walked: set[str] | None = None) -> Iterator[str]:
        """The images in ``directory``, and it or what is below where that cannot be read: it fails as one image.

        ``walked`` are directories that were searched already, of a pattern that matches some twice.
        """
        walked = set() if walked is None else walked
        unread: list[str] = []
        for folder, folders, files in os.walk(directory, onerror=lambda error: unread.append(error.filename)):
            inside = os.path.join(folder, "")
            if inside in walked or self._is_left_out(folder):
                folders.clear()
                continue
            walked.add(inside)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = os.path.join(folder, name)
                if _is_image(path):
                    yield path
                else:
                    self.skipped += 1
        yield from unread

    def _is_left_out(self, folder: str) -> bool:
        if self._leave_out is None:
            return False
        return os.path.join(os.path.realpath(folder), "").startswith(self._leave_out)


def _is_image(path: str) -> bool:
    """Whether a file in a directory is one, by its name; a named pipe of such a name could be waited for for ever."""
    return has_image_suffix(path) and not os.path.basename(path).startswith(".") and is_regular(path)
