from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading

import pytest
from alexnet_client._cli.ending import interrupts_later, stderr_console, stopped_by_sigterm


def test_interrupt_waits_for_the_end_of_a_step() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps: list[str] = []

    def step() -> None:
        with interrupts_later():
            signal.raise_signal(signal.SIGINT)
            steps.append("done")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert steps == ["done"]
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_is_an_interrupt_that_waits_for_the_end_of_a_step() -> None:
    before = signal.getsignal(signal.SIGTERM)
    steps: list[str] = []

    def run() -> None:
        with stopped_by_sigterm():
            with interrupts_later():
                signal.raise_signal(signal.SIGTERM)
                steps.append("done")
            steps.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == ["done"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_name_in_a_message_neither_becomes_emoji_nor_moves_the_cursor(capsys: pytest.CaptureFixture) -> None:
    stderr_console().print("a:cat:\x1b[2J[b].jpg\nnext", markup=False)
    assert capsys.readouterr().err == "a:cat:\N{REPLACEMENT CHARACTER}[2J[b].jpg\nnext\n"


def test_step_without_an_interrupt_goes_on_after_it() -> None:
    steps: list[str] = []
    with interrupts_later():
        steps.append("step")
    steps.append("next")
    assert steps == ["step", "next"]


def test_fault_in_a_step_is_raised_and_the_handler_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(OSError, match="full"), interrupts_later():
        raise OSError(errno.ENOSPC, "full")
    assert signal.getsignal(signal.SIGINT) is before


def test_step_in_another_thread_needs_no_handler() -> None:
    steps: list[str] = []

    def step() -> None:
        with interrupts_later():
            steps.append("done")

    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert steps == ["done"]


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("raise OSError(28, 'No space left on device')", 1, "error: cannot write: No space left on device\n"),
        ("open('/none/file')", 1, "error: /none/file: No such file or directory\n"),
        ("raise BrokenPipeError", 141, ""),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
    ],
)
def test_command_ends_with_one_line_and_its_exit_status(line: str, status: int, message: str) -> None:
    program = f"from alexnet_client._cli.ending import clean_ending\nwith clean_ending():\n    {line}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", message)
