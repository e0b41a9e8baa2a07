"""`alexnet-server` as a user runs it: starts, says where, stops, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from alexnet_server import ModelLostError, StartError, running_server
from alexnet_server.ports import free_ports

DEADLINE_S = 60
SERVER = [sys.executable, "-m", "alexnet_server"]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        os.sched_yield()
    return pytest.fail(f"not within {DEADLINE_S} s: {what}")


def shared_memory_of(pid: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"alexnet-server-{pid}-*"))


def children_named(pid: int, prefix: str) -> list[psutil.Process]:
    named = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # one of the preflight's that has just ended
            if child.name().startswith(prefix):
                named.append(child)
    return named


def ended(process: psutil.Process) -> bool:
    """Whether it is gone, or waits for whoever inherited it to collect it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def stub_of(server_pid: int, model: str) -> psutil.Process:
    return next(
        child for child in psutil.Process(server_pid).children() if any(model in part for part in child.cmdline()[8:])
    )


@pytest.fixture
def port_options() -> list[str]:
    ports = free_ports("127.0.0.1")
    return [f"--http-port={ports.http}", f"--grpc-port={ports.grpc}", f"--metrics-port={ports.metrics}"]


@pytest.fixture
def started(repository: Path, port_options: list[str]) -> Iterator[subprocess.Popen[str]]:
    """`alexnet-server run`, ready: its block of addresses is on stdout."""
    command = [*SERVER, "run", "--repository", str(repository), *port_options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        block = [process.stdout.readline() for _ in range(5)]
        assert block[0].startswith("Triton Inference Server"), process.communicate(timeout=DEADLINE_S)
        process.addresses = "".join(block)  # type: ignore[attr-defined]
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_run_prints_version_models_and_addresses_when_ready(
    started: subprocess.Popen[str], port_options: list[str]
) -> None:
    http, grpc, metrics = (option.partition("=")[2] for option in port_options)

    version, models, *addresses = started.addresses.splitlines()  # type: ignore[attr-defined]

    assert version == "Triton Inference Server 2.51.0 is ready"
    assert models == "  models   alexnet 1, classifier 1, preprocess 1"
    assert addresses == [
        f"  grpc     127.0.0.1:{grpc}",
        f"  http     http://127.0.0.1:{http}",
        f"  metrics  http://127.0.0.1:{metrics}/metrics",
    ]


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_leaves_no_process_and_no_shared_memory_after_signal(
    started: subprocess.Popen[str], stop_signal: signal.Signals
) -> None:
    family = psutil.Process(started.pid).children(recursive=True)
    assert any("triton_python_backend_stub" in member.name() for member in family) or len(family) >= 3
    assert shared_memory_of(started.pid)

    started.send_signal(stop_signal)
    started.communicate(timeout=20)

    assert started.returncode == 0
    assert [member for member in family if member.is_running()] == []
    assert shared_memory_of(started.pid) == []


def test_killed_run_leaves_no_process_and_no_shared_memory(started: subprocess.Popen[str]) -> None:
    family = psutil.Process(started.pid).children(recursive=True)
    assert len(family) >= 3
    assert shared_memory_of(started.pid)

    started.kill()

    wait_for(lambda: all(ended(member) for member in family), "every process of the server ended")
    assert shared_memory_of(started.pid) == []


def test_run_ends_with_a_message_when_the_process_of_a_model_dies(started: subprocess.Popen[str]) -> None:
    (triton,) = psutil.Process(started.pid).children()
    stub_of(triton.pid, "alexnet").kill()

    _, messages = started.communicate(timeout=DEADLINE_S)

    assert started.returncode == 1
    assert re.search(r"the process of alexnet_0_\d+ died", messages)
    assert shared_memory_of(started.pid) == []


def test_run_ends_with_a_message_when_tritonserver_dies(started: subprocess.Popen[str]) -> None:
    (triton,) = psutil.Process(started.pid).children()
    stubs = triton.children()
    triton.kill()

    _, messages = started.communicate(timeout=DEADLINE_S)

    assert started.returncode == 1
    assert "tritonserver ended with exit code -9" in messages
    assert [stub for stub in stubs if stub.is_running()] == []
    assert shared_memory_of(started.pid) == []


def test_run_stops_while_it_starts(repository: Path, port_options: list[str]) -> None:
    command = [*SERVER, "run", "--repository", str(repository), *port_options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    family = wait_for(
        lambda: children_named(process.pid, "tritonserver"),
        "tritonserver started",
    )

    process.terminate()
    process.communicate(timeout=60)

    assert [member for member in family if member.is_running()] == []
    assert shared_memory_of(process.pid) == []


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port", "--metrics-port"])
def test_run_names_the_port_that_is_taken(repository: Path, port_options: list[str], option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run_command("run", "--repository", str(repository), *port_options, f"{option}={port}")

    assert refused.returncode == 1
    assert f"{option} {port} is taken" in refused.stderr
    assert refused.stdout == ""


def test_run_and_check_name_a_repository_that_is_missing(tmp_path: Path) -> None:
    for command in ("run", "check"):
        refused = run_command(command, "--repository", str(tmp_path / "nowhere"))

        assert refused.returncode == 1
        assert f"{tmp_path / 'nowhere'} is not there" in refused.stderr
        assert "next: alexnet-build repository" in refused.stderr


def test_run_refuses_what_check_finds_in_the_same_words(repository: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(repository, tmp_path / "broken")
    shutil.rmtree(broken / "alexnet" / "1")

    found = run_command("check", "--repository", str(broken))
    refused = run_command("run", "--repository", str(broken))

    assert (found.returncode, refused.returncode) == (1, 1)
    assert "model alexnet: it has no version" in found.stdout
    assert refused.stderr == f"error: {found.stdout}"


def test_check_reports_as_json(repository: Path, tmp_path: Path) -> None:
    sound = run_command("check", "--repository", str(repository), "--json")
    assert (sound.returncode, json.loads(sound.stdout)["ok"]) == (0, True)
    broken = shutil.copytree(repository, tmp_path / "broken")
    (broken / "alexnet" / "labels.txt").unlink()

    found = run_command("check", "--repository", str(broken), "--json")

    assert found.returncode == 1
    (finding,) = json.loads(found.stdout)["findings"]
    assert finding.keys() == {"subject", "found", "expected", "command"}
    assert finding["subject"] == "model alexnet, output PROBABILITIES"


def test_check_reports_a_missing_repository_as_json(tmp_path: Path) -> None:
    refused = run_command("check", "--repository", str(tmp_path / "nowhere"), "--json")

    report = json.loads(refused.stdout)
    assert (refused.returncode, report["ok"]) == (1, False)
    assert "nowhere is not there" in report["error"]


def test_run_refuses_a_triton_flag_that_contradicts_an_option(repository: Path) -> None:
    refused = run_command("run", "--repository", str(repository), "--", "--http-port=1234")

    assert refused.returncode == 2
    assert "use --http-port instead" in refused.stderr


def test_triton_flags_and_log_file_reach_the_server(repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "triton.log"

    with running_server(repository, triton_flags=["--id=from-the-test"], log=log):
        pass

    assert "from-the-test" in log.read_text()


def test_run_names_a_log_that_cannot_be_written(repository: Path, tmp_path: Path, port_options: list[str]) -> None:
    refused = run_command("run", "--repository", str(repository), *port_options, "--log", str(tmp_path / "no" / "log"))

    assert refused.returncode == 1
    assert "the log" in refused.stderr
    assert "cannot be written: No such file or directory" in refused.stderr


def test_start_fails_with_tritons_words_when_a_model_does_not_load(repository: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(repository, tmp_path / "broken")
    (broken / "preprocess" / "1" / "model.py").write_text("raise RuntimeError('nothing works today')\n")

    with pytest.raises(StartError, match="nothing works today"), running_server(broken):
        pass


def test_start_fails_with_both_sides_when_config_and_onnx_file_disagree(repository: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(repository, tmp_path / "broken")
    (broken / "alexnet" / "1" / "manifest.json").unlink()  # without it, only the backend knows the file's tensors
    for model in ("alexnet", "classifier"):
        config = broken / model / "config.pbtxt"
        config.write_text(config.read_text().replace("TYPE_FP32", "TYPE_FP16"))

    expected = "output PROBABILITIES is TYPE_FP16 in the config and TYPE_FP32 in the file"
    with pytest.raises(StartError, match=expected), running_server(broken):
        pass


def test_lost_process_of_preprocess_is_noticed_by_check(repository: Path) -> None:
    with running_server(repository) as server:
        server.check()
        stub_of(server.pid, "preprocess").kill()

        def lost() -> str:
            try:
                server.check()
            except ModelLostError as error:
                return str(error)
            return ""

        assert "the process of preprocess_0_" in wait_for(lost, "the dead process was noticed")


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SERVER, *arguments], capture_output=True, text=True, timeout=DEADLINE_S)
