"""`alexnet-client` against a real Triton Inference Server."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLIENT = [sys.executable, "-m", "alexnet_client"]
GIVE_UP_S = 120


@pytest.fixture
def environment(server: Any) -> dict[str, str]:
    return os.environ | {"ALEXNET_URL": server.grpc_url, "COLUMNS": "100"}


@pytest.fixture
def album(tmp_path: Path, photographs: list[Path]) -> Path:
    """Two photographs, one of them in a folder, a broken one, and a file that is none."""
    (tmp_path / "more").mkdir()
    (tmp_path / "a.jpg").write_bytes(photographs[0].read_bytes())
    (tmp_path / "more" / "c.jpeg").write_bytes(photographs[1].read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no photograph")
    return tmp_path


def run(environment: dict[str, str], *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [*CLIENT, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=GIVE_UP_S, env=environment)


def test_broken_image_in_a_directory_fails_alone_and_the_exit_status_says_so(
    environment: dict[str, str], album: Path
) -> None:
    done = run(environment, "classify", album, "--format", "jsonl", "--top", 3)
    first, broken, last = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert [row["image"] for row in (first, broken, last)] == [
        f"{album}/{name}" for name in ("a.jpg", "b.jpg", "more/c.jpeg")
    ]
    assert list(broken) == ["image", "predictions", "error"]
    assert broken["predictions"] == []
    assert broken["error"]
    for row in (first, last):
        assert row["error"] is None
        assert [list(prediction) for prediction in row["predictions"]] == [["label", "index", "score"]] * 3
    assert f"failed: {album}/b.jpg: {broken['error']}" in done.stderr
    assert "3 images in " in done.stderr
    assert "1 failed, 1 other file skipped" in done.stderr


def test_formats_agree(environment: dict[str, str], photographs: list[Path]) -> None:
    outputs = {
        name: run(environment, "classify", photographs[0], "--format", name, "--top", 2)
        for name in ("json", "jsonl", "csv", "table")
    }
    assert {name: done.returncode for name, done in outputs.items()} == dict.fromkeys(outputs, 0)
    (row,) = json.loads(outputs["json"].stdout)
    assert json.loads(outputs["jsonl"].stdout) == row
    rows = list(csv.DictReader(io.StringIO(outputs["csv"].stdout)))
    assert [(r["image"], r["rank"], r["label"], int(r["index"]), float(r["score"])) for r in rows] == [
        (row["image"], str(rank), p["label"], p["index"], p["score"])
        for rank, p in enumerate(row["predictions"], start=1)
    ]
    assert all(p["label"] in outputs["table"].stdout for p in row["predictions"])


def test_files_patterns_and_stdin_keep_their_order(environment: dict[str, str], album: Path) -> None:
    arguments = (album / "more/c.jpeg", f"{album}/a*", "--from-file", "-")
    done = run(environment, "classify", *arguments, "--format", "jsonl", stdin=f"{album}/a.jpg\n")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [
        f"{album}/{name}" for name in ("more/c.jpeg", "a.jpg", "a.jpg")
    ]


def test_missing_file_is_a_failed_image(environment: dict[str, str], photographs: list[Path]) -> None:
    done = run(environment, "classify", "none.jpg", photographs[0], "--format", "jsonl")
    missing, good = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert missing == {"image": "none.jpg", "predictions": [], "error": "none.jpg: no such file"}
    assert good["error"] is None


def test_results_stream_from_a_pipe_and_an_interrupt_ends_at_once(
    environment: dict[str, str], photographs: list[Path]
) -> None:
    process = subprocess.Popen(
        [*CLIENT, "classify", "--from-file", "-", "--format", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for photograph in photographs[:2]:  # each answer comes before the next path is given
        process.stdin.write(f"{photograph}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["image"] == str(photograph)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert process.stdout.read() == ""
    assert process.stderr is not None
    assert process.stderr.read() == "interrupted\n"
    process.stdin.close()


def test_reader_that_goes_away_ends_the_run_without_a_traceback(
    environment: dict[str, str], photographs: list[Path]
) -> None:
    process = subprocess.Popen(
        [*CLIENT, "classify", *map(str, photographs * 100), "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["error"] is None
    process.stdout.close()
    assert process.wait(timeout=GIVE_UP_S) == 141
    assert process.stderr.read() == ""


def test_status_shows_every_composing_model(environment: dict[str, str], server: Any) -> None:
    done = run(environment, "status")
    assert done.returncode == 0, done.stderr
    readiness, _, work = done.stdout.partition("\n\n")
    assert [line.split()[0] for line in readiness.splitlines()] == [
        *(server.grpc_url, "server", "classifier", "preprocess", "alexnet", "serving")
    ]
    assert [line.split()[0] for line in work.splitlines()[1:]] == ["classifier", "preprocess", "alexnet"]


def test_status_as_json_has_one_row_a_server(environment: dict[str, str], server: Any) -> None:
    done = run(environment, "status", "--json", "--url", f"{server.grpc_url},127.0.0.1:1")
    up, down = json.loads(done.stdout)
    assert done.returncode == 1
    assert (up["serving"], up["name"]) == (True, "triton")
    assert [model["name"] for model in up["models"]] == ["classifier", "preprocess", "alexnet"]
    assert (down["url"], down["serving"]) == ("127.0.0.1:1", False)


def test_wait_ends_when_the_server_classifies(environment: dict[str, str], server: Any) -> None:
    done = run(environment, "wait", "--timeout", 60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{server.grpc_url} is ready\n")


def test_labels_are_one_a_line(environment: dict[str, str], server: Any) -> None:
    done = run(environment, "labels")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (server.repository / "alexnet" / "labels.txt").read_text(encoding="utf-8")
    assert json.loads(run(environment, "labels", "--json").stdout) == done.stdout.splitlines()
