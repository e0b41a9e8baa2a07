"""The command line where no server is needed: help, wrong usage, nobody there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

COMMANDS = ["bench", "classify", "classify-video", "config", "labels", "status", "wait", "watch"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alexnet_client", *arguments]
    clean = {key: value for key, value in os.environ.items() if key != "ALEXNET_URL"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=clean | {"COLUMNS": "100"} | environment
    )


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address where nobody listens, and where nobody can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"Example: alexnet-client {command}" in done.stdout
    assert "ALEXNET_URL" in done.stdout


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert [command for command in COMMANDS if f" {command} " not in done.stdout] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify",),
        ("classify", "x.jpg", "--top", "0"),
        ("classify", "x.jpg", "--format", "xml"),
        ("classify", "x.jpg", "--format", "parquet"),
        ("classify", "x.jpg", "--min-score", "1.5"),
        ("classify", "x.jpg", "--resume"),
        ("classify", "--from-file", "/none/list"),
        ("classify", "x.jpg", "--deadline", "0"),
        ("classify", "x.jpg", "--url", "http://localhost:8000"),
        ("bench", "--concurrency", "1,x"),
        ("bench", "--seconds", "0"),
        ("bench", "--format", "jsonl"),
        ("status", "--url", ""),
        ("paint",),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing_to_stdout(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    "arguments", [("bench",), ("classify", "x.jpg"), ("labels",), ("status",), ("wait", "--timeout", "0.5")]
)
def test_unreachable_server_ends_with_1_and_says_what_to_do(arguments: tuple[str, ...], dead_url: str) -> None:
    done = run(*arguments, ALEXNET_URL=dead_url)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("error: could not ")
    assert dead_url in first
    assert f"--url {dead_url}" in second


def test_status_as_json_of_an_unreachable_server_is_still_json(dead_url: str) -> None:
    done = run("status", "--json", "--url", dead_url)
    assert done.returncode == 1
    assert '"serving": false' in done.stdout


def test_option_goes_before_the_environment(dead_url: str) -> None:
    done = run("status", "--url", dead_url, ALEXNET_URL="127.0.0.1:1")
    assert dead_url in done.stderr
