"""`alexnet-client bench` against a real Triton Inference Server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = [sys.executable, "-m", "alexnet_client", "bench"]
GIVE_UP_S = 120


@pytest.fixture
def environment(server: Any) -> dict[str, str]:
    return os.environ | {"ALEXNET_URL": server.grpc_url, "COLUMNS": "80"}


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, "--seconds", "1", "--warmup", "0.2", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_S, env=environment)


def test_report_says_what_clients_and_server_saw(environment: dict[str, str], photographs: list[Path]) -> None:
    done = run(environment, photographs[0].parent, "--concurrency", "1,4", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["images"]["count"] == len(photographs)
    assert [load["concurrency"] for load in report["loads"]] == [1, 4]
    for load in report["loads"]:
        assert load["images"] > 0
        assert load["failed"] == 0
        assert load["images_per_s"] == pytest.approx(load["images"] / load["seconds"], rel=1e-2)
        latency = load["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        whole, *composing = load["server"]
        assert [whole["model"], *(work["model"] for work in composing)] == ["classifier", "preprocess", "alexnet"]
        # both sides count the same requests, but for those under way at either end
        assert abs(whole["requests"] - load["images"]) <= 2 * load["concurrency"] + 2
        for work in composing:
            assert work["queue_ms"] + work["compute_ms"] <= work["total_ms"] * 1.01


def test_generated_images_are_classified_and_said_to_be_generated(environment: dict[str, str]) -> None:
    done = run(environment, "--concurrency", "2")
    assert done.returncode == 0, done.stderr
    assert "4 generated PNG images" in done.stdout
    assert "alexnet, compute" in done.stdout


def test_broken_image_is_counted_by_its_kind_and_the_exit_status_says_so(
    environment: dict[str, str], photographs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    done = run(environment, photographs[0], tmp_path, "--concurrency", "2", "--format", "json")
    assert done.returncode == 1
    (load,) = json.loads(done.stdout)["loads"]
    assert list(load["errors"]) == ["InvalidImage"]
    assert load["images"] > 0


def test_interrupt_prints_what_was_measured(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*BENCH, "--concurrency", "1,2", "--seconds", "1", "--warmup", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if line.split()[:1] == ["1"]:  # the first row is there, the second run is under way
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=GIVE_UP_S) == 130
    assert "the mean image took" in rest
    assert process.stderr.read() == "interrupted\n"
