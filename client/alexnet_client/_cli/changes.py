"""Where something may have changed: told by the kernel, or, where it does not tell, nobody knows but who looks.

In: directories. Out: rounds of paths, at least every ``ROUND_S`` seconds. Called by: ``arrivals.py``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROUND_S = 0.1  # how long a finished result may wait while nothing arrives
POLL_S = 1.0
MOUNTS = Path("/proc/self/mountinfo")
# Of a file that another machine writes, the kernel of this one hears nothing.
NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|fuse\.(sshfs|s3fs|gcsfuse|rclone|glusterfs|ceph).*|glusterfs|lustre|gpfs|"
    r"ncpfs|vboxsf|vmhgfs|fuse\.vmhgfs.*|virtiofs|drvfs|davfs"
)


@dataclass
class Changes:
    """Who says what has changed: the kernel, as long as it can, or nobody.

    Attributes:
        poll_s: Seconds between two looks at everything; None if changes are notified.
        why: Why they are not, for people.
        notified: The rounds of those that are; they have been collected since this was made.
    """

    poll_s: float | None = None
    why: str = ""
    notified: Iterator[Iterable[str]] | None = None

    def rounds(self, say: Callable[[str], None]) -> Iterator[Iterable[str]]:
        """Paths that may have changed since the last round, the first one at once and empty; without end.

        Args:
            say: Told when changes can be notified no more; then they are polled.
        """
        yield ()
        if self.notified is not None:
            try:
                yield from self.notified
            except (OSError, RuntimeError) as error:  # one directory more than fs.inotify.max_user_watches, mostly
                self.poll_s, self.why = POLL_S, f"the kernel no longer tells of changes: {error}"
                say(f"looking every {self.poll_s:g} s from now on ({self.why})")
        while True:
            yield ()
            time.sleep(ROUND_S)


def changes_in(directories: Iterable[str], poll_s: float | None = None) -> Changes:
    """Notified changes where they can be had, and polling elsewhere.

    Args:
        directories: Where.
        poll_s: Poll in any case, so often.
    """
    directories = tuple(directories)
    if poll_s is not None:
        return Changes(poll_s, "as --poll says")
    if importlib.util.find_spec("watchfiles") is None:
        return Changes(POLL_S, "for quicker notice: pip install 'alexnet-triton[watch]'")
    for directory in directories:
        kind = file_system_of(directory)
        if NETWORK_FILE_SYSTEMS.fullmatch(kind):
            return Changes(POLL_S, f"{directory} is on a network share, {kind}")
    notified = _notified(directories)
    try:
        next(notified)  # from now on they are collected
    except (OSError, RuntimeError) as error:  # too many directories for fs.inotify.max_user_watches, mostly
        return Changes(POLL_S, f"the kernel does not tell of changes: {error}")
    return Changes(notified=notified)


def file_system_of(directory: str, mounts: Path = MOUNTS) -> str:
    """The kind of file system that ``directory`` is on, such as ``ext4``; empty where nobody tells.

    ``mountinfo`` is described in proc(5): the mount point is field 5, the kind follows the field ``-``.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    path, best, kind = os.path.realpath(directory), "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of several at one point, the last one covers the others
            best, kind = point, right.split()[0]
    return kind


def _notified(directories: tuple[str, ...]) -> Iterator[Iterable[str]]:
    """What the kernel tells of, by the names that ``os.walk`` finds in ``directories``.

    It watches a directory and not a name: when another directory has taken the name, that one is watched instead, and
    named as a whole, for what is in it came before anybody told.
    """
    import watchfiles

    anew: tuple[str, ...] = ()
    while True:
        identities = [_identity(directory) for directory in directories]  # first, lest one be exchanged meanwhile
        roots = [os.path.realpath(directory) for directory in directories]
        lost = {(watchfiles.Change.deleted, root) for root in roots}  # the next one may have the same inode
        rounds = watchfiles.watch(
            *(root for root, identity in zip(roots, identities, strict=True) if identity is not None),
            watch_filter=None,
            step=20,
            debounce=int(ROUND_S * 1000),
            rust_timeout=int(ROUND_S * 1000),
            yield_on_timeout=True,
            raise_interrupt=True,
            ignore_permission_denied=True,
            force_polling=False,
        )
        for changed in rounds:
            yield [*anew, *(name for _, path in changed for name in _as_typed(path, directories, roots))]
            anew = ()
            if lost & changed or identities != [_identity(directory) for directory in directories]:
                break
        anew = directories


def _identity(directory: str) -> tuple[int, int] | None:
    """What another directory of the same name has not, at the same time; None if there is none."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _as_typed(path: str, directories: Iterable[str], roots: Iterable[str]) -> Iterator[str]:
    """``path``, which is below some of ``roots``, as it is called below these of ``directories``.

    If a link leads to its folder, it may be told by the link, which ``os.walk`` does not follow.
    """
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for directory, root in zip(directories, roots, strict=True):
        above = os.path.join(root, "")
        if f"{path}/".startswith(above):
            yield os.path.join(directory, path[len(above) :])
