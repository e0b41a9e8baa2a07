"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from alexnet_server import tether
from alexnet_server.tether import start_tethered

DEADLINE_S = 20
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
PARENT = f"""
import sys, time
from alexnet_server.tether import start_tethered
process = start_tethered({SLEEP!r}, stdout=-1)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(60)
"""
SERVER = Path(tether.__file__).parents[1]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        os.sched_yield()


def ended(process: psutil.Process) -> bool:
    """Whether it is gone, or waits for whoever inherited it to collect it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_child_ends_with_its_parent_however_that_ends(end: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SERVER)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert not ended(child)
        parent.send_signal(end)
    wait_for(lambda: ended(child), "the child's end")


def test_child_outlives_the_thread_that_asked_for_it() -> None:
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(start_tethered(SLEEP, stdout=subprocess.PIPE)))
    thread.start()
    thread.join(DEADLINE_S)
    with started[0] as child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"  # the thread was gone before
        assert child.poll() is None
        child.terminate()
    assert child.returncode == -signal.SIGTERM


def test_command_gets_its_arguments_and_its_exit_code_comes_back() -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "--host", "a b"]
    with start_tethered(command, stdout=subprocess.PIPE) as child:
        assert child.communicate(timeout=DEADLINE_S)[0] == b"['--host', 'a b']\n"
    assert child.returncode == 7


def test_command_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "tritonserver")
    with start_tethered([missing], stderr=subprocess.PIPE) as child:
        _, said = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 1
    assert said.decode() == f"{missing} cannot be executed: No such file or directory\n"


def test_folder_that_is_missing_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start_tethered(SLEEP, cwd=tmp_path / "missing")


def test_nothing_is_started_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    command = [sys.executable, "-c", f"open({str(marker)!r}, 'w')"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(DEADLINE_S)
    launched = subprocess.run([sys.executable, tether.__file__, str(gone.pid), *command], capture_output=True)
    assert launched.returncode == 1
    assert b"which asked for it, is gone" in launched.stderr
    assert not marker.exists()
