"""A video through the client, with a server in plain Python in the place of gRPC."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from alexnet_client import Classifier, InvalidImage
from alexnet_client import _calls as calls
from alexnet_client._cli.live import AHEAD, as_they_come
from alexnet_client._cli.video import Plan, classify_video, timed_results
from alexnet_client._cli.video_sampling import Sampling
from alexnet_client._many import NOTHING_YET


@pytest.fixture
def video(tmp_path: Path) -> str:
    """Two seconds, ten frames each."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 10, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(tmp_path / "a.mp4")


def run(video: str, transport: Any, **plan: Any) -> int:
    return classify_video(video, Plan(**plan), lambda: Classifier(transport=transport, retries=0))


def test_frames_become_a_cue(video: str, transport: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(video, transport, format="srt", sampling=Sampling(5.0)) == 0
    written = capsys.readouterr()
    assert written.out == "1\n00:00:00,000 --> 00:00:02,000\ncrane: bird 70 %\n\n"
    assert written.err.startswith("10 frames from 0:02.0 of video in ")


def test_predictions_below_the_score_are_left_out(
    video: str, transport: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(video, transport, top_k=3, min_score=0.2) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f'{{"video": "{video}", "time_s": 0.0, "predictions": [{{"label": "crane: bird", "index": 2, "score": 0.7}}, '
        '{"label": "tench", "index": 0, "score": 0.2}], "error": null}'
    )
    assert '"time_s": 1.0' in second


def test_failed_frame_fails_alone_and_is_named_by_its_time(
    video: str, transport: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, errors = transport.on[calls.Infer], [InvalidImage("no such luck")]

    def infer(call: Any) -> Any:
        if call.class_count == 1 and errors:  # not the test image, of which all labels are asked
            raise errors.pop()
        return answer(call)

    transport.on[calls.Infer] = infer
    assert run(video, transport, concurrency=1) == 1
    written = capsys.readouterr()
    assert [line.split('"error": ')[1] for line in written.out.splitlines()] == ['"no such luck"}', "null}"]
    assert "failed: 0:00.000: no such luck\n" in written.err


def test_interrupted_run_leaves_subtitles_well_formed(
    video: str, transport: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield from itertools.islice(timed_results(*arguments), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr("alexnet_client._cli.video.timed_results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(video, transport, format="vtt", sampling=Sampling(10.0))
    assert capsys.readouterr().out == "WEBVTT\n\n00:00:00.000 --> 00:00:01.100\ncrane: bird 70 %\n\n"


def test_nothing_is_written_for_a_file_that_is_no_video(
    tmp_path: Path, transport: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 1000)
    with pytest.raises(InvalidImage):
        run(str(tmp_path / "a.mp4"), transport, format="vtt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--every-frame", "--fps", "2"), "--every-frame and --fps 2 contradict each other"),
        (("--fps", "0"), "0 frames a second cannot be taken"),
        (("--start", "1m"), "'1m' is no time"),
        (("--top", "3", "--format", "vtt"), "--top 3 does not go with --format vtt"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_opened(arguments: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "alexnet_client", "classify-video", "none.mp4", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {words}")


def test_silent_source_lets_results_through() -> None:
    proceed = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        proceed.wait()
        yield 2

    items = as_they_come(slow())
    assert next(items) == 1
    assert next(items) is NOTHING_YET
    proceed.set()
    assert [item for item in items if item is not NOTHING_YET] == [2]


def test_fault_of_a_live_source_reaches_the_caller() -> None:
    def faulty() -> Iterator[int]:
        yield 1
        raise InvalidImage("the plug was pulled")

    items = as_they_come(faulty())
    assert next(items) == 1
    with pytest.raises(InvalidImage, match="the plug was pulled"):
        list(items)


def test_live_source_is_read_only_a_little_ahead_and_not_after_its_reader_went_away() -> None:
    read: list[int] = []
    gone = threading.Event()

    def endless() -> Iterator[int]:
        try:
            for number in itertools.count():
                read.append(number)
                yield number
        finally:
            gone.set()

    items = as_they_come(endless())
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert gone.wait(timeout=10)
    assert len(read) <= AHEAD + 2
