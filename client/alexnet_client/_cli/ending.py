"""How a command ends: exit status, and errors as a red line instead of a traceback.

0: done. 1: something failed. 2: wrong usage. 130: interrupted. 141: the reader of a pipe went away.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console

from alexnet_client._errors import AlexNetClientError, InvalidSetting

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED, PIPE_CLOSED = 128 + signal.SIGINT, 128 + signal.SIGPIPE


def stderr_console() -> Console:
    """The console for messages."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def complain(error: AlexNetClientError) -> None:
    """One red line on stderr, and below it what to do."""
    stderr_console().print(f"error: {error.message}", style="red", markup=False)
    if error.hint:
        stderr_console().print(error.hint, markup=False)


@contextmanager
def clean_ending() -> Iterator[None]:
    """Around a whole command: turn what may go wrong into a line on stderr and an exit status."""
    try:
        yield
        sys.stdout.flush()
    except AlexNetClientError as error:
        complain(error)
        _exit(WRONG_USAGE if isinstance(error, InvalidSetting) else FAILED)
    except KeyboardInterrupt:
        stderr_console().print("interrupted")
        _exit(INTERRUPTED)
    except BrokenPipeError:
        # what is still buffered has no reader: let the last flush go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(PIPE_CLOSED)


def _exit(status: int) -> NoReturn:
    raise SystemExit(status)
