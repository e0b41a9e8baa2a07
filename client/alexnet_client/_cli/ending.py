"""How a command ends: exit status, and errors as a red line instead of a traceback.

0: done. 1: something failed. 2: wrong usage. 130: interrupted. 141: the reader of a pipe went away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from alexnet_client._errors import AlexNetClientError, InvalidSetting

from .table import CONTROL

FAILED, WRONG_USAGE = 1, 2
INTERRUPTED, PIPE_CLOSED = 128 + signal.SIGINT, 128 + signal.SIGPIPE


class _Messages(Console):
    """Names in messages stay what they are: they neither become emoji nor move the cursor."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Of control characters only the newline is left."""
        return super().render_str(text.translate(_CONTROL), **options)


_CONTROL = {code: sign for code, sign in CONTROL.items() if chr(code) != "\n"}


def stderr_console() -> Console:
    """The console for messages."""
    return _Messages()


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
        _give_up_stdout()
        _exit(PIPE_CLOSED)
    except OSError as error:  # such as a disk that is full
        _give_up_stdout()
        what = f"{error.filename}: " if error.filename else "cannot write: "
        complain(AlexNetClientError(f"{what}{error.strerror or error}"))
        _exit(FAILED)


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Around a short step on disk that must not be done by half: Ctrl-C and SIGTERM are heeded when it is over.

    Not for a pipe, whose reader may leave a write waiting for ever.
    """
    if threading.current_thread() is not threading.main_thread():  # others are not interrupted
        yield
        return
    pending: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda number, _frame: pending.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """A service manager's way to end a program does here what Ctrl-C does: what was done is written."""
    if threading.current_thread() is not threading.main_thread():  # only there a handler can be set
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _give_up_stdout() -> None:
    """What is still buffered has no reader or no room: let the last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(status: int) -> NoReturn:
    raise SystemExit(status)
