"""Peers run as processes of their own: stopped between their turns, and gone at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

DEADLINE_S = 10
# A parent with one child that lives as long.
PARENT = "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"


@pytest.fixture
def sides(benchmark_module):
    return benchmark_module("sides")


@pytest.fixture
def family():
    """The parent's process, and the child's id."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process, child
    for pid in (process.pid, child):
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()
    process.stdout.close()
    process.wait()


def settled(stopped: bool, *pids: int) -> bool:
    """Whether all are stopped, or all are not, as soon as the system has delivered the signals."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if all((psutil.Process(pid).status() == psutil.STATUS_STOPPED) == stopped for pid in pids):
            return True
        os.sched_yield()
    return False


def test_a_frozen_server_and_its_workers_run_only_while_it_is_their_turn(sides, family) -> None:
    process, child = family
    endpoint = sides.Endpoint("http://127.0.0.1:1/", process.pid, frozen=True)
    endpoint.freeze()
    assert settled(True, process.pid, child)
    with endpoint.awake():
        assert settled(False, process.pid, child)
    assert settled(True, process.pid, child)


def test_stopping_ends_a_frozen_server_and_its_workers(sides, family) -> None:
    process, child = family
    endpoint = sides.Endpoint("http://127.0.0.1:1/", process.pid, frozen=True)
    endpoint.freeze()
    sides.stop(process, [psutil.Process(process.pid), psutil.Process(child)])
    assert process.returncode is not None
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_peer_that_ends_at_once_is_reported_with_its_log(sides, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", "raise SystemExit('no such port')"], stderr=output)
    process.wait()
    with pytest.raises(sides.PeerError, match="no such port"):
        sides.wait_until_ready(process, "http://127.0.0.1:1/classify", log)


def test_every_side_has_settings_that_were_compared(sides) -> None:
    assert all(sides.BEST[kind] in alternatives for kind, alternatives in sides.ALTERNATIVES.items())
    assert len({side.key for side in sides.all_sides()}) == len(sides.all_sides()) == 13


def test_repository_is_written_around_a_cached_network_without_a_manifest(benchmark_module, tmp_path: Path) -> None:
    networks = benchmark_module("networks")
    (tmp_path / f"demo-fp32-{networks.code_hash()}.onnx").write_bytes(b"network")
    path = networks.write_repository("demo", "fp32", tmp_path / "models", tmp_path)
    assert path.read_bytes() == b"network"
    assert "227" in (tmp_path / "models" / "preprocess" / "config.pbtxt").read_text()
    assert not list((tmp_path / "models").rglob("manifest.json"))
