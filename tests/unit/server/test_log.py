"""Of all that tritonserver writes, the problems reach the terminal and all of it the file."""

from __future__ import annotations

import io

import pytest
from alexnet_server.log import LogRelay

OUTPUT = b"""W1122 10:25:52.622763 3900 memory.cc:273] "Unable to allocate pinned system memory"
I1122 10:25:52.625215 3900 model_lifecycle.cc:472] "loading: alexnet:1"
+---------+
| Backend |
+---------+
E1122 10:25:52.625727 3900 model_lifecycle.cc:642] "failed to load 'alexnet' version 1:
  no such file"
I1122 10:25:52.980144 3900 server.cc:604] done
"""
PROBLEMS = [
    "E1122 10:25:52.625727 3900 model_lifecycle.cc:642] \"failed to load 'alexnet' version 1:",
    '  no such file"',
]


def relay(*, verbose: bool) -> tuple[LogRelay, bytes]:
    log_file = io.BytesIO()
    thread = LogRelay(io.BytesIO(OUTPUT), log_file, verbose=verbose)
    thread.start()
    thread.join()
    return thread, log_file.getvalue()


def test_problems_with_their_next_lines_reach_stderr_and_everything_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    thread, written = relay(verbose=False)

    assert capsys.readouterr().err.splitlines() == PROBLEMS
    assert thread.problems() == PROBLEMS
    assert written == OUTPUT


def test_everything_reaches_stderr_when_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    relay(verbose=True)

    assert capsys.readouterr().err == OUTPUT.decode()
