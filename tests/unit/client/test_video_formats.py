"""Results of a video as subtitles, JSON Lines and a table."""

from __future__ import annotations

import io
import json

import pytest
from alexnet_client import InvalidImage, InvalidSetting, Prediction, Result
from alexnet_client._cli.subtitles import SubRipWriter, WebVttWriter
from alexnet_client._cli.video import Plan
from alexnet_client._cli.video_formats import JsonLinesWriter, TableWriter, VideoWriter
from rich.console import Console


def result(label: str | None = None, score: float = 0.5, error: str | None = None) -> Result:
    predictions = () if label is None else (Prediction(label, 3, score),)
    return Result("image 0", 0, predictions, None if error is None else InvalidImage(error), 0.01)


def written(writer: VideoWriter, *frames: tuple[float, Result], end_s: float | None) -> None:
    writer.begin()
    for time_s, frame in frames:
        writer.write(time_s, frame)
    writer.end(end_s)


def test_subtitles_join_frames_with_one_label_and_end_with_the_video() -> None:
    stream = io.StringIO()
    frames = (
        *[(0.0, result("cat", 0.5)), (1.0, result("cat", 0.7)), (2.0, result("dog", 0.994))],
        *[(3.0, result()), (4.0, result("dog")), (3599.9996, result(error="damaged"))],
    )
    written(SubRipWriter(stream), *frames, (3601.0, result("a:b\nc")), end_s=3602.5)
    assert stream.getvalue() == (
        "1\n00:00:00,000 --> 00:00:02,000\ncat 60 %\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\ndog 99 %\n\n"
        "3\n00:00:04,000 --> 01:00:00,000\ndog 50 %\n\n"
        "4\n01:00:01,000 --> 01:00:02,500\na:b c 50 %\n\n"
    )


def test_subtitles_of_an_interrupted_run_end_a_second_after_the_last_frame() -> None:
    stream = io.StringIO()
    written(SubRipWriter(stream), (0.0, result("cat")), (5.0, result("cat")), end_s=None)
    assert stream.getvalue() == "1\n00:00:00,000 --> 00:00:06,000\ncat 50 %\n\n"


def test_cue_is_written_when_the_next_begins() -> None:
    stream = io.StringIO()
    writer = SubRipWriter(stream)
    writer.write(0.0, result("cat"))
    assert stream.getvalue() == ""
    writer.write(1.0, result("dog"))
    assert stream.getvalue() == "1\n00:00:00,000 --> 00:00:01,000\ncat 50 %\n\n"


def test_webvtt_has_its_head_and_no_markup_from_labels() -> None:
    stream = io.StringIO()
    written(WebVttWriter(stream), (0.25, result("salt & <b>pepper")), end_s=1.0)
    assert stream.getvalue() == ("WEBVTT\n\n00:00:00.250 --> 00:00:01.000\nsalt &amp; &lt;b&gt;pepper 50 %\n\n")


def test_subtitles_without_a_frame_are_well_formed() -> None:
    subrip, webvtt = io.StringIO(), io.StringIO()
    written(SubRipWriter(subrip), end_s=None)
    written(WebVttWriter(webvtt), end_s=None)
    assert (subrip.getvalue(), webvtt.getvalue()) == ("", "WEBVTT\n\n")


def test_label_without_a_name_is_its_class() -> None:
    stream = io.StringIO()
    written(SubRipWriter(stream), (0.0, result("")), end_s=1.0)
    assert "(class 3) 50 %" in stream.getvalue()


def test_json_line_carries_the_video_and_the_time() -> None:
    stream = io.StringIO()
    frames = ((1 / 3, result("cat", 0.25)), (1.0, result(error="damaged")))
    written(JsonLinesWriter(stream, "a b.mp4"), *frames, end_s=2.0)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {
            "video": "a b.mp4",
            "time_s": 0.333,
            "predictions": [{"label": "cat", "index": 3, "score": 0.25}],
            "error": None,
        },
        {"video": "a b.mp4", "time_s": 1.0, "predictions": [], "error": "damaged"},
    ]


def test_table_has_a_line_a_prediction_and_a_bar_on_a_terminal_only() -> None:
    two = Result("image 0", 0, (Prediction("cat", 1, 0.75), Prediction("dog\x1b[2J", 2, 0.25)), None, 0.01)
    plain, fancy = io.StringIO(), io.StringIO()
    frames = ((61.5, two), (62.5, result()), (63.5, result(error="damaged")))
    written(TableWriter(Console(file=plain, width=100)), *frames, end_s=64.0)
    written(TableWriter(Console(file=fancy, width=100, force_terminal=True, _environ={})), *frames, end_s=64.0)
    gap = " " * 31
    assert plain.getvalue().splitlines() == [
        f"       time  label{gap}    score",
        f"   1:01.500  cat{gap}     0.7500",
        f"             dog\N{REPLACEMENT CHARACTER}[2J{gap[:-4]}     0.2500",
        "   1:02.500  -",
        "   1:03.500  failed: damaged",
    ]
    assert "█" in fancy.getvalue()
    assert "\x1b[2J" not in fancy.getvalue()


def test_more_labels_than_a_subtitle_shows_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="--top 2 does not go with --format srt"):
        Plan(format="srt", top_k=2)
