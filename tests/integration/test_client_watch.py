"""`alexnet-client watch` against a real Triton Inference Server that goes away and comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from alexnet_server import running_server

GIVE_UP_S = 120
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def started() -> Iterator[Start]:
    """Starts `watch` on the server at an address; what still runs at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(url: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "alexnet_client", "watch", *map(str, arguments)]
        process = subprocess.Popen(
            [*command, "--top", "1", "--settle", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"ALEXNET_URL": url},
        )
        processes.append(process)
        assert line(process, process.stderr).startswith("watching ")
        return process

    yield start
    for process in processes:
        with process:  # closes its pipes and waits
            process.kill()


def line(process: subprocess.Popen[str], stream: IO[str] | None) -> str:
    """The next line; if none comes in time, the process is killed, and the line is empty."""
    assert stream is not None
    give_up = threading.Timer(GIVE_UP_S, process.kill)
    give_up.start()
    try:
        return stream.readline()
    finally:
        give_up.cancel()


def row(process: subprocess.Popen[str]) -> dict[str, Any]:
    return json.loads(line(process, process.stdout))


@pytest.mark.parametrize("how", [[], ["--poll", "0.2"]], ids=["notified", "polled"])
def test_images_are_classified_as_they_arrive_until_an_interrupt(
    started: Start, server: Any, photographs: list[Path], tmp_path: Path, how: list[str]
) -> None:
    shutil.copy(photographs[0], tmp_path / "old.jpg")
    process = started(server.grpc_url, tmp_path, "--existing", *how)
    assert row(process)["image"] == f"{tmp_path}/old.jpg"
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    broken = row(process)
    assert (broken["image"], broken["predictions"]) == (f"{tmp_path}/broken.jpg", [])
    shutil.copy(photographs[1], tmp_path / ".new.part")
    (tmp_path / ".new.part").rename(tmp_path / "new.jpg")
    new = row(process)
    assert (new["image"], len(new["predictions"]), new["error"]) == (f"{tmp_path}/new.jpg", 1, None)
    process.send_signal(signal.SIGINT)
    rest, messages = process.communicate(timeout=10)
    assert (rest, process.returncode) == ("", 1)
    failed, stopped = messages.splitlines()
    assert failed == f"failed: {tmp_path}/broken.jpg: {broken['error']}"
    assert stopped.startswith("stopped after ")
    assert stopped.endswith(" s: 3 images, 1 failed")


def test_image_that_arrives_while_the_server_is_away_waits_for_it(
    started: Start, repository: Path, photographs: list[Path], tmp_path: Path
) -> None:
    with running_server(repository) as first:
        process = started(first.grpc_url, tmp_path)
        shutil.copy(photographs[0], tmp_path / "a.jpg")
        assert row(process)["error"] is None
        ports = first.ports
    shutil.copy(photographs[1], tmp_path / "b.jpg")
    with running_server(repository, ports=ports):
        waited = row(process)
        assert (waited["image"], waited["error"]) == (f"{tmp_path}/b.jpg", None)
        process.send_signal(signal.SIGTERM)
        rest, messages = process.communicate(timeout=10)
    assert (rest, process.returncode) == ("", 0)
    assert messages.endswith(" s: 2 images\n")


def test_server_that_is_not_there_at_the_start_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_client", "watch", str(tmp_path), "--url", "127.0.0.1:1", "--deadline", "1"],
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: could not ")
