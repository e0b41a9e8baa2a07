"""A process that ends with the one that started it, even where that one is killed and can do nothing more.

In: a command. Out: its `subprocess.Popen`. Called by process.py; run as a program of its own, this file asks the kernel
for the signal and becomes the command.

The kernel sends the signal when the *thread* that started the child is gone (prctl(2), PR_SET_PDEATHSIG), so the
child gets a thread that stays for as long as it does. It is asked for in the child, after the fork and before the
command, where Python code between the two (`preexec_fn`) could block on a lock of another thread: hence a program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_tethered(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command that gets SIGTERM when this process is gone, however it went.

    SIGPIPE is ignored in it: what it still writes, nobody reads any more, and it has to end in order all the same.

    Args:
        command: the executable's path and its arguments.
        options: of `subprocess.Popen`.

    Raises:
        OSError: no process could be started. A command that cannot be executed ends with 1 and says so on stderr.
    """
    answer: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()
    launcher = [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]
    threading.Thread(
        target=_start_and_stay, args=(launcher, options, answer), name="tritonserver-parent", daemon=True
    ).start()
    started = answer.get()
    if isinstance(started, OSError):
        raise started
    return started


def _start_and_stay(
    launcher: list[str], options: dict[str, Any], answer: queue.SimpleQueue[subprocess.Popen[bytes] | OSError]
) -> None:
    try:
        process = subprocess.Popen(launcher, **options)
    except OSError as error:
        answer.put(error)
        return
    answer.put(process)
    # Seen, but not collected: the exit code is for whoever asks the process for it, and may have by now.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def _become(parent: int, command: list[str]) -> None:
    """Ask for the signal and replace this program by the command, unless the parent is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(f"{command[0]} is not started: process {parent}, which asked for it, is gone")
    try:
        os.execv(command[0], command)  # Python ignores SIGPIPE, and what is ignored stays so
    except OSError as error:
        sys.exit(f"{command[0]} cannot be executed: {error.strerror}")


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
