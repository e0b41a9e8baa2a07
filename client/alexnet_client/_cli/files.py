"""Files that a command writes: whole or not at all, and nothing overwritten by accident.

Called by: everything of the command line that writes to a named file.
"""

from __future__ import annotations

import os
import stat
from typing import IO

from alexnet_client._errors import InvalidSetting


class WholeFile:
    """A file that appears under its name when it is complete.

    It grows beside that name, hidden. What is no regular file (``/dev/stdout``, a named pipe) is written directly.

    Args:
        path: The name; a symbolic link is followed.

    Attributes:
        file: Where to write.

    Raises:
        InvalidSetting: Nothing can be written there.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path) if is_regular(path) else path
        folder, name = os.path.split(self._path)
        self._growing = os.path.join(folder, f".{name}.{os.getpid()}.tmp") if is_regular(path) else path
        self.file: IO[bytes] = opened(self._growing, "wb", path)

    def commit(self) -> None:
        """It is complete: give it its name."""
        self.file.flush()
        if self._growing != self._path:
            os.fsync(self.file.fileno())  # or a crash could leave the name without the bytes
            os.replace(self._growing, self._path)
        self.file.close()

    def discard(self) -> None:
        """It is not wanted; what had the name before keeps it."""
        try:
            self.file.close()
        finally:
            if self._growing != self._path and os.path.exists(self._growing):
                os.unlink(self._growing)


def is_regular(path: str) -> bool:
    """Whether ``path`` is a regular file, or can become one."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def opened(path: str, mode: str, name: str) -> IO[bytes]:
    """An open file.

    Raises:
        InvalidSetting: It cannot be opened; the message has ``name``.
    """
    try:
        return open(path, mode)
    except OSError as error:
        raise InvalidSetting(f"{name}: cannot be written ({error.strerror})") from error


def refuse_to_overwrite(path: str, overwrite: bool, otherwise: str = "") -> None:
    """Nothing, if ``path`` is free, empty, or may be replaced.

    Raises:
        InvalidSetting: It holds something.
    """
    if overwrite or not is_regular(path) or not os.path.exists(path) or os.path.getsize(path) == 0:
        return
    raise InvalidSetting(f"{path}: there is such a file", hint=f"{otherwise}--overwrite replaces it")
