"""tritonserver's output in; the lines worth reading on stderr, everything in a file if asked, problems
remembered.

Triton marks each line with a letter for its level (`W1122 10:25:52.622763 3900 file.cc:273] "..."`); a line
without one goes on from the line before, or comes from a model's Python code.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from typing import IO

_LEVEL = re.compile(rb"^([IWEF])\d{4} \d\d:\d\d:\d\d")

# Said by every tritonserver that was built for GPUs and finds none; nothing is wrong on a machine without
# one.
_WITHOUT_GPU = re.compile(
    rb"pinned system memory|CudaDriverHelper has not been initialized|unable to create stream for"
    rb"|Failed to initialize NVML|DCGM unable to start|CUDA memory pool disabled"
)
# tritonserver's word on the signal that we stop it with.
_STOPPED = re.compile(rb"^Signal \(\d+\) received")
_REMEMBERED_LINES = 40


class LogRelay(threading.Thread):
    """Reads a server's output until it ends."""

    def __init__(self, output: IO[bytes], log_file: IO[bytes] | None, *, verbose: bool) -> None:
        """Args: the pipe to read; where all of it goes; whether all of it goes to stderr too."""
        super().__init__(name="tritonserver-log", daemon=True)
        self._output = output
        self._log_file = log_file
        self._verbose = verbose
        self._problems: deque[str] = deque(maxlen=_REMEMBERED_LINES)

    def run(self) -> None:
        """Pass lines on; called by `start`."""
        level = b"E"  # what comes before the first marked line is the loader's complaint or a usage message
        for line in self._output:
            marked = _LEVEL.match(line)
            level = marked.group(1) if marked else level
            usual = _WITHOUT_GPU.search(line) or _STOPPED.match(line)
            problem = level in b"WEF" and line.strip() and not usual
            if problem:
                self._problems.append(line.decode(errors="replace").rstrip())
            if self._log_file:
                self._log_file.write(line)
                self._log_file.flush()
            if problem or self._verbose:
                sys.stderr.write(line.decode(errors="replace"))
                sys.stderr.flush()
        self._output.close()

    def problems(self) -> list[str]:
        """Return the last warnings and errors, oldest first."""
        return list(self._problems)
