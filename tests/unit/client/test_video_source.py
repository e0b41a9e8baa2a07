"""What a video is opened with; no camera is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from alexnet_client import InvalidImage, InvalidSetting
from alexnet_client._cli.video_source import Opening, camera_opening, opening_from_source

LOCAL = {"protocol_whitelist": "file,pipe"}


def test_file_is_opened_by_its_path_and_cannot_lead_into_the_network(tmp_path: Path) -> None:
    video = tmp_path / "concat:a.mp4"
    video.write_bytes(b"")
    assert opening_from_source(str(video)) == Opening(f"file:{video}", None, LOCAL)


def test_named_pipe_is_live(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert opening_from_source(str(tmp_path / "pipe")) == Opening(f"file:{tmp_path}/pipe", None, LOCAL, live=True)


def test_stdin_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert opening_from_source("-") == Opening("pipe:0", None, LOCAL, live=True)


def test_camera_is_asked_for_its_size() -> None:
    assert camera_opening("/dev/video0", "1280x720") == Opening(
        "/dev/video0", "v4l2", {"video_size": "1280x720"}, live=True, camera=True
    )
    assert camera_opening("/dev/video0", None).options == {}


def test_cameras_format_is_in_this_build_of_ffmpeg() -> None:
    import av

    with pytest.raises(av.FFmpegError, match="Inappropriate ioctl"):  # not: no such format
        av.open(os.devnull, format=camera_opening(os.devnull, "640x480").format)


def test_missing_camera_says_where_to_look() -> None:
    with pytest.raises(InvalidImage) as caught:
        opening_from_source("/dev/video4711")
    assert caught.value.message == "/dev/video4711: no such camera"
    assert "ls /dev/video*" in caught.value.hint


def test_web_address_is_refused_with_the_pipe_that_reads_it() -> None:
    with pytest.raises(InvalidSetting) as caught:
        opening_from_source("rtsp://camera/stream")
    assert "ffmpeg -i rtsp://camera/stream" in caught.value.hint


@pytest.mark.parametrize("size", ["1280", "0x720", "1280x720x3", "axb"])
def test_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(InvalidSetting, match="expected WIDTHxHEIGHT"):
        opening_from_source("/dev/video0", size)


def test_size_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(InvalidSetting, match="is for cameras"):
        opening_from_source(str(tmp_path / "a.mp4"), "640x480")


def test_directory_and_missing_file_are_no_videos(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match="a directory, not a video"):
        opening_from_source(str(tmp_path))
    with pytest.raises(InvalidImage, match="no such file"):
        opening_from_source(str(tmp_path / "none.mp4"))
