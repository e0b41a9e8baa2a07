"""What `alexnet-client classify` reads and writes beside stdout, against a real Triton Inference Server."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
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
    """Three photographs and a broken one."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("cat.jpg", "coffee.jpg", "rocket.jpg"):
        (original,) = (path for path in photographs if path.name == name)
        shutil.copy(original, folder)
    (folder / "bad.jpg").write_bytes(b"broken")
    return folder


def classify(
    environment: dict[str, str], *arguments: object, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [*CLIENT, "classify", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=GIVE_UP_S, env=environment, cwd=cwd)


def labels_of(jsonl: str | bytes) -> dict[str, list[str]]:
    rows = map(json.loads, jsonl.splitlines())
    return {Path(row["image"]).name: [prediction["label"] for prediction in row["predictions"]] for row in rows}


def test_json_lines_with_broken_images_feed_jq_and_the_exit_status_says_so(
    environment: dict[str, str], album: Path
) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed; this is about what it makes of our output")
    classify_ = f"{sys.executable} -m alexnet_client classify {album} --format jsonl --top 1"
    script = f"""{classify_} | jq -c '[.predictions[].score > 0]'; echo "${{PIPESTATUS[@]}}" """
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=GIVE_UP_S, env=environment, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[true]", "[true]", "[true]", "1 0"]


def test_image_bytes_come_through_stdin(environment: dict[str, str], album: Path) -> None:
    named = classify(environment, album / "cat.jpg", "--format", "jsonl")
    piped = classify(environment, "-", "--format", "jsonl", stdin=(album / "cat.jpg").read_bytes())
    assert piped.returncode == 0, piped.stderr
    assert json.loads(piped.stdout)["image"] == "-"
    assert json.loads(piped.stdout)["predictions"] == json.loads(named.stdout)["predictions"]


def test_list_where_an_image_is_meant_ends_with_2_and_the_right_command(environment: dict[str, str]) -> None:
    done = classify(environment, "-", stdin=b"a.jpg\0b.jpg\0")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[-1] == b"Read a list with: alexnet-client classify --from-file - --null"


def test_only_predictions_that_are_wanted_are_kept(environment: dict[str, str], album: Path) -> None:
    everything = labels_of(classify(environment, album, "--format", "jsonl").stdout)
    assert everything["coffee.jpg"][0] != "cup"
    kept = classify(environment, album, "--format", "jsonl", "--only-label", "CUP", "--min-score", "0.05")
    assert labels_of(kept.stdout) == {"bad.jpg": [], "cat.jpg": [], "coffee.jpg": ["cup"], "rocket.jpg": []}
    assert b"1 failed, 2 without such a prediction" in kept.stderr
    wrong = classify(environment, album, "--only-label", "cuup")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"did you mean 'cup'?" in wrong.stderr


def test_images_are_sorted_and_shown_on_a_page(environment: dict[str, str], album: Path) -> None:
    arguments = (album, "--sort-into", album / "sorted", "--contact-sheet", album / "sheet.html")
    first = classify(environment, *arguments, "--format", "jsonl")
    best = {name: labels[0] for name, labels in labels_of(first.stdout).items() if labels}
    assert first.returncode == 1
    assert {path.name: path.parent.name for path in (album / "sorted").rglob("*.jpg")} == best
    page = (album / "sheet.html").read_text(encoding="utf-8")
    assert sorted(re.findall(r'<a href="([^"#]+)" target', page)) == sorted(best)
    assert page.count("data:image/jpeg;base64,") == 3
    assert "1 failed" in page
    again = classify(environment, *arguments, "--overwrite")  # what was sorted is not classified again
    assert b"3 images" not in again.stderr
    assert b"4 images in " in again.stderr
    assert b"nothing copied into" in again.stderr


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_resumed_run_does_what_is_left_and_failed_images_again(
    environment: dict[str, str], album: Path, format: str
) -> None:
    output = album / f"out.{format}"
    arguments = (album, "--top", 2, "--output", output)
    # where there is nothing to continue, --resume begins
    first = classify(environment, *arguments, *(["--resume"] if format == "csv" else []))
    assert (first.returncode, first.stdout) == (1, b"")
    whole = output.read_bytes()
    output.write_bytes(whole[: -len(whole) // 5])  # as if it had been killed while it wrote
    shutil.copy(album / "cat.jpg", album / "bad.jpg")
    second = classify(environment, *arguments, "--resume")
    assert second.returncode == 0, second.stderr
    assert b"2 images already in " in second.stderr
    assert b"2 images in " in second.stderr
    if format == "jsonl":
        rows = labels_of(output.read_bytes())
    else:
        rows = {}
        for row in csv.DictReader(output.read_text().splitlines()):
            rows.setdefault(Path(row["image"]).name, []).append(row["label"])
    assert list(rows) == ["cat.jpg", "coffee.jpg", "bad.jpg", "rocket.jpg"]
    assert rows["bad.jpg"] == rows["cat.jpg"]
    assert {len(labels) for labels in rows.values()} == {2}

    finished = output.read_bytes()
    other = classify(environment, album, "--top", 3, "--output", output, "--resume")
    assert (other.returncode, other.stderr.splitlines()[0]) == (2, f"error: {output}: top was 2 and is 3".encode())
    without = classify(environment, *arguments)
    assert without.returncode == 2
    assert output.read_bytes() == finished


@pytest.mark.parametrize("name", ["out.json", "out.jsonl", "out.parquet"])
def test_interrupt_ends_at_once_with_what_is_done_in_every_file(
    environment: dict[str, str], album: Path, name: str
) -> None:
    reading, writing = os.pipe()  # a list that never ends
    arguments = ("--from-file", "-", "--output", name, "--contact-sheet", "sheet.html")
    process = subprocess.Popen(
        [*CLIENT, "classify", *arguments],
        stdin=reading,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=album,
    )
    assert process.stderr is not None
    os.write(writing, b"cat.jpg\nbad.jpg\n")
    assert process.stderr.readline().startswith("failed: bad.jpg: ")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    # the signal may hit the very line that was read, which is then written once more
    lines = [line for line in process.stderr.read().splitlines() if not line.startswith("failed: bad.jpg: ")]
    process.stderr.close()
    os.close(reading)
    os.close(writing)
    assert lines[0].startswith(f"2 images in {name}")
    assert ("--resume goes on" in lines[0]) == (name == "out.jsonl")
    assert lines[1:] == ["interrupted"]
    page = (album / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == 1
    if name.endswith("parquet"):
        from pyarrow import parquet

        assert set(parquet.read_table(album / name)["image"].to_pylist()) == {"cat.jpg", "bad.jpg"}
    else:
        text = (album / name).read_text()
        rows = json.loads(text) if name == "out.json" else list(map(json.loads, text.splitlines()))
        assert [row["image"] for row in rows] == ["cat.jpg", "bad.jpg"]
    assert sorted(path.name for path in album.glob(".*")) == []


def test_full_disk_is_an_error_and_no_traceback(environment: dict[str, str], album: Path) -> None:
    done = classify(environment, album, "--format", "jsonl", "--output", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"error: cannot write: No space left on device"
    assert b"Traceback" not in done.stderr
