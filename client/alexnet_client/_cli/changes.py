"""Where something may have changed: told by the kernel, or, where it does not tell, nobody knows but who looks.

In: directories. Out: rounds of paths, at least every ``ROUND_S`` seconds. Called by: ``arrivals.py``.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
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


@dataclass(frozen=True)
class Changes:
    """Who says what has changed.

    Attributes:
        poll_s: Seconds between two looks at everything; None if changes are notified.
        why: Why they are not, for people.
        notified: The rounds of those that are; they have been collected since this was made.
    """

    poll_s: float | None = None
    why: str = ""
    notified: Iterator[Iterable[str]] | None = None

    def rounds(self) -> Iterator[Iterable[str]]:
        """Paths that may have changed since the last round, the first one at once and empty; without end."""
        return _ticks() if self.notified is None else itertools.chain([()], self.notified)


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


def _ticks() -> Iterator[Iterable[str]]:
    while True:
        yield ()
        time.sleep(ROUND_S)


def _notified(directories: tuple[str, ...]) -> Iterator[Iterable[str]]:
    import watchfiles

    rounds = watchfiles.watch(
        *directories,
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
        yield [path for _, path in changed]
