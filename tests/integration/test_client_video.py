"""`alexnet-client classify-video` against a real Triton Inference Server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

COMMAND = [sys.executable, "-m", "alexnet_client", "classify-video"]
SIZE = (480, 360)
GIVE_UP_S = 120


@pytest.fixture
def environment(server: Any) -> dict[str, str]:
    return os.environ | {"ALEXNET_URL": server.grpc_url, "COLUMNS": "100"}


@pytest.fixture(scope="module")
def clip(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs for five seconds each, 5 frames a second, in a container that may come through a pipe."""
    path = tmp_path_factory.mktemp("video") / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for photograph in (named(photographs, "cat.jpg"), named(photographs, "coffee.jpg")):
            with av.open(str(photograph)) as image:
                pixels = next(image.decode(video=0)).reformat(*SIZE, format="rgb24").to_ndarray()
            for _ in range(25):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def named(photographs: list[Path], name: str) -> Path:
    return next(path for path in photographs if path.name == name)


def run(environment: dict[str, str], *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=GIVE_UP_S, env=environment)


def test_frames_get_the_labels_of_their_photographs(
    environment: dict[str, str], server: Any, clip: Path, photographs: list[Path]
) -> None:
    from alexnet_client import Classifier

    done = run(environment, clip, "--fps", 0.2)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["video"], row["time_s"], row["error"]) for row in rows] == [
        (str(clip), 0.0, None),
        (str(clip), 5.0, None),
    ]
    with Classifier(server.grpc_url) as classifier:
        for row, name in zip(rows, ("cat.jpg", "coffee.jpg"), strict=True):
            (best,) = classifier.classify(named(photographs, name), top_k=1)
            assert row["predictions"][0]["label"] == best.label


def test_subtitles_of_a_pipe_are_those_of_the_file(environment: dict[str, str], clip: Path) -> None:
    arguments = ("--format", "srt")
    file, pipe = run(environment, clip, *arguments), run(environment, "-", *arguments, stdin=clip.read_bytes())
    assert (file.returncode, pipe.returncode) == (0, 0), file.stderr + pipe.stderr
    assert file.stdout == pipe.stdout
    assert file.stdout.decode().splitlines()[1::4] == [
        "00:00:00,000 --> 00:00:05,000",
        "00:00:05,000 --> 00:00:10,000",
    ]


def test_damaged_video_gives_what_it_has_and_the_exit_status_says_so(
    environment: dict[str, str], clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.mkv").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    done = run(environment, tmp_path / "cut.mkv", "--format", "table")
    assert done.returncode == 1
    head, *times = [line.split()[0] for line in done.stdout.decode().splitlines()]
    assert head == "time"
    assert 1 <= len(times) < 10
    assert times == [f"0:0{second}.000" for second in range(len(times))]
    assert b"cut.mkv: it ends at 0:0" in done.stderr


def test_results_of_a_live_stream_come_at_once_and_an_interrupt_ends_it_well_formed(
    environment: dict[str, str], clip: Path
) -> None:
    command = [*COMMAND, "-", "--format", "vtt"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(clip.read_bytes())
    process.stdin.flush()  # and it stays open: more may come
    written = b"".join(process.stdout.readline() for _ in range(4))
    assert written.startswith(b"WEBVTT\n\n00:00:00.000 --> 00:00:05.000\n")
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=10) == 130
    assert process.stderr.read() == b"interrupted\n"
    assert (written + rest).endswith(b"\n\n")
    process.stdin.close()
