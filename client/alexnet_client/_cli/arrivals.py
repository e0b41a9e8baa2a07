"""Images as they arrive in directories. In: directories. Out: paths of files that are complete, one at a time.

A file is complete when it has not changed for a while: nothing tells a reader that a writer is done, for a file may be
copied, downloaded, renamed, or written over a network. Called by: the command ``watch``.
"""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from alexnet_client._many import NOTHING_YET

from .changes import Changes
from .path_lists import has_image_suffix

# An empty file is one whose writer has yet to begin; after so long it is passed on, and fails as an empty image.
EMPTY_S = 10.0
# How often every file is looked at where changes are notified: a notification may be lost when many come at once.
SWEEP_S = 60.0


class Stamp(NamedTuple):
    """What changes when a file does; a file of the same name that takes its place has another inode."""

    size: int
    modified_ns: int
    inode: int


class Pending(NamedTuple):
    """A file that may still be written: as it was when it was last looked at, when that was, and when it was first."""

    stamp: Stamp
    seen_s: float
    first_s: float


class Settling:
    """Tells the files that are complete from those that are still being written.

    It remembers every file that is there, a few hundred bytes each, so that each version of a file comes out once.

    Args:
        settle_s: Seconds for which a complete file has not changed.
        now_s: The clock.
    """

    def __init__(self, settle_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._settle_s, self._now_s = settle_s, now_s
        self._done: dict[str, Stamp] = {}
        self._pending: dict[str, Pending] = {}  # in the order in which they were last looked at

    def know(self, path: str) -> None:
        """Take ``path`` as it is now for one that has come out already."""
        stamp = stamp_of(path)
        if stamp is not None:
            self._done[path] = stamp

    def look(self, path: str) -> None:
        """Something may have happened to ``path``."""
        if path in self._pending:
            return
        stamp = stamp_of(path)
        if stamp is None:
            self._done.pop(path, None)
        elif stamp != self._done.get(path):
            self._pending[path] = Pending(stamp, self._now_s(), self._now_s())

    def complete(self) -> Iterator[str]:
        """The files that have become complete."""
        while self._pending:
            path, pending = next(iter(self._pending.items()))
            now_s = self._now_s()
            if now_s < pending.seen_s + self._settle_s:
                return
            del self._pending[path]
            stamp = stamp_of(path)
            if stamp is None:
                self._done.pop(path, None)
            elif stamp != pending.stamp or (stamp.size == 0 and now_s < pending.first_s + EMPTY_S):
                self._pending[path] = Pending(stamp, now_s, pending.first_s)
            else:
                self._done[path] = stamp
                yield path

    def forget_but(self, present: set[str]) -> None:
        """Forget the files that are no more."""
        for path in self._done.keys() - present:
            del self._done[path]


class Arrivals:
    """Image files that are complete in directories, or come to be, without end; ``NOTHING_YET`` in between.

    Args:
        directories: With everything below them, but for what is hidden.
        changes: What says where to look.
        settle_s: Seconds for which a complete file has not changed.
        say: Told, once, when a directory cannot be read, and when it can again; and when changes are notified no more.
        now_s: The clock.
    """

    def __init__(
        self,
        directories: Iterable[str],
        changes: Changes,
        *,
        settle_s: float,
        say: Callable[[str], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directories = tuple(directories)
        self._changes = changes
        self._say = say
        self._now_s = now_s
        self._settling = Settling(settle_s, now_s)
        self._unreadable: set[str] = set()

    def leave_out_existing(self) -> None:
        """The files that are there now are no arrivals, unless they change."""
        self._sweep(self._settling.know)

    def __iter__(self) -> Iterator[str]:
        swept_s, took_s = -math.inf, 0.0
        for changed in self._changes.rounds(self._say):
            begun_s = self._now_s()
            # 100,000 files take most of a second: no more than a tenth of the time goes into looking
            if begun_s >= swept_s + max(self._changes.poll_s or SWEEP_S, 9 * took_s):
                self._sweep(self._settling.look)
                swept_s = self._now_s()
                took_s = swept_s - begun_s
            for path in changed:
                self._look(path)
            yield from self._settling.complete()
            yield NOTHING_YET  # type: ignore[misc]  # the sentinel of classify_many

    def _look(self, path: str) -> None:
        # A directory was moved here with what is in it, of which nobody tells. A link is followed if it was typed.
        is_folder = os.path.isdir(path) and (path in self._directories or not os.path.islink(path))
        for image in images_below(path) if is_folder else (path,):
            if is_image(image, self._directories):
                self._settling.look(image)

    def _sweep(self, each: Callable[[str], None]) -> None:
        """Look at every file. Of a directory that cannot be read, nothing is forgotten: a share comes back."""
        present: set[str] = set()
        lost = False
        for directory in self._directories:
            try:
                os.scandir(directory).close()
            except OSError as error:
                lost = True
                if directory not in self._unreadable:
                    self._unreadable.add(directory)
                    self._say(f"{directory} cannot be read ({error.strerror}); still trying")
                continue
            if directory in self._unreadable:
                self._unreadable.remove(directory)
                self._say(f"{directory} can be read again")
            for path in images_below(directory):
                present.add(path)
                each(path)
        if not lost:
            self._settling.forget_but(present)


def images_below(directory: str) -> Iterator[str]:
    """Every file that is an image by its suffix, sorted, without what is hidden; as ``classify`` searches."""
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if has_image_suffix(name) and not name.startswith("."):
                yield os.path.join(folder, name)


def is_image(path: str, directories: Iterable[str]) -> bool:
    """Whether ``images_below`` one of ``directories`` would find it."""
    if not has_image_suffix(path):
        return False
    below = (os.path.relpath(path, directory) for directory in directories)  # begins with ".." where it is not below
    return any(not any(part.startswith(".") for part in relative.split(os.sep)) for relative in below)


def stamp_of(path: str) -> Stamp | None:
    """The file as it is; None if it is not there, or no regular file: nothing may ever come out of a pipe."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)
