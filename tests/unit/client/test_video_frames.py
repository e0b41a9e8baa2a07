"""Frames out of videos that the tests encode: times, colours, rotation, damage."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from alexnet_client import InvalidImage, InvalidSetting
from alexnet_client._cli.video_frames import VideoFrames
from alexnet_client._cli.video_pixels import upright_pixels
from alexnet_client._cli.video_sampling import Sampling

EVERY = Sampling(fps=None)
FPS = 10
COLOURS = [(200, 40, 60), (40, 180, 60), (50, 60, 190), (160, 160, 30)]  # one for half a second of every video


def encode(
    path: Path, *, size: tuple[int, int] = (64, 48), key_every: int = 5, rotation: int = 0, times_s: Any = None
) -> Path:
    """Two seconds in H.264, at ten frames a second or at ``times_s``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"g": str(key_every), "sc_threshold": "0", "bf": "0", "crf": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(20 if times_s is None else len(times_s)):
            pixels = np.full((size[1], size[0], 3), COLOURS[number // 5 % 4], np.uint8)
            pixels[: size[1] // 3, : size[0] // 3] = 255  # white in the upper left corner
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if times_s is not None:
                frame.time_base = stream.codec_context.time_base = Fraction(1, 1000)
                frame.pts = round(times_s[number] * 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def times_of(frames: VideoFrames) -> list[float]:
    return [round(frame.time_s, 3) for frame in frames]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_times_begin_with_the_video_in_every_container(tmp_path: Path, suffix: str) -> None:
    frames = VideoFrames(str(encode(tmp_path / f"a.{suffix}")), EVERY)
    assert times_of(frames) == [round(i / FPS, 3) for i in range(20)]
    assert frames.length_s == pytest.approx(2.0)
    assert frames.end_s == pytest.approx(2.0, abs=0.002)
    assert frames.damage == []


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("key_every", [5, 100])
def test_stretch_begins_where_it_was_asked_to(tmp_path: Path, suffix: str, key_every: int) -> None:
    video = encode(tmp_path / f"a.{suffix}", key_every=key_every)
    frames = list(VideoFrames(str(video), Sampling(fps=2.0, start_s=0.7, duration_s=1.0)))
    assert [round(frame.time_s, 3) for frame in frames] == [0.7, 1.2]
    for frame, colour in zip(frames, (COLOURS[1], COLOURS[2]), strict=True):
        assert np.abs(frame.pixels[-1, -1].astype(int) - colour).max() <= 3


def test_key_frames_alone_are_taken(tmp_path: Path) -> None:
    frames = VideoFrames(str(encode(tmp_path / "a.mp4")), Sampling(fps=None, key_frames=True))
    assert times_of(frames) == [0.0, 0.5, 1.0, 1.5]


def test_key_frames_of_a_stretch_without_any_are_none_and_nothing_is_missing(tmp_path: Path) -> None:
    video = str(encode(tmp_path / "a.mp4", key_every=100))
    assert times_of(frames := VideoFrames(video, Sampling(fps=None, key_frames=True))) == [0.0]
    assert (frames.end_s, frames.damage) == (2.0, [])
    assert times_of(VideoFrames(video, Sampling(fps=None, key_frames=True, start_s=1.5))) == []


def test_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    stored_s = [0.0, 0.04, 0.9, 1.0, 3.5]
    video = str(encode(tmp_path / "a.mkv", times_s=stored_s))
    assert times_of(VideoFrames(video, EVERY)) == stored_s
    assert times_of(VideoFrames(video, Sampling(fps=1.0))) == [0.0, 1.0, 3.5]


def test_times_go_on_where_one_recording_follows_another(tmp_path: Path) -> None:
    recording = encode(tmp_path / "a.ts").read_bytes()
    (tmp_path / "both.ts").write_bytes(recording * 2)
    assert times_of(VideoFrames(str(tmp_path / "both.ts"), Sampling(fps=2.0))) == [
        0.0,
        0.5,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        3.5,
    ]


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
def test_picture_is_turned_upright(tmp_path: Path, rotation: int, corner: tuple[int, int]) -> None:
    """Anticlockwise by so many degrees, by the display matrix of ISO/IEC 14496-12, section 8.3.2."""
    (frame, *_) = VideoFrames(str(encode(tmp_path / "a.mp4", rotation=rotation)), EVERY)
    assert frame.pixels.shape == ((48, 64, 3) if rotation % 180 == 0 else (64, 48, 3))
    bright = [place for place in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if frame.pixels[place].min() > 240]
    assert bright == [corner]


def test_large_picture_is_shrunk_and_a_small_one_is_not_enlarged() -> None:
    def shape(width: int, height: int, pixel_width: int = 1) -> tuple[int, ...]:
        return upright_pixels(av.VideoFrame(width, height, "yuv420p"), pixel_width).shape  # type: ignore[arg-type]

    assert shape(1920, 1080) == (256, 455, 3)
    assert shape(1080, 1920) == (455, 256, 3)
    assert shape(320, 200) == (200, 320, 3)
    assert shape(720, 576, 2) == (256, 640, 3)


@pytest.mark.parametrize(("size", "matrix"), [((1280, 720), "ITU709"), ((640, 480), "ITU601")])
def test_colours_without_a_matrix_are_those_of_the_size(size: tuple[int, int], matrix: str) -> None:
    pixels = np.full((size[1], size[0], 3), COLOURS[0], np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
    frame.colorspace = 2
    assert np.abs(upright_pixels(frame)[5, 5].astype(int) - COLOURS[0]).max() <= 3


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def scratch(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(i * 7919 % 256 for i in range(1500)) + data[middle + 1500 :]


@pytest.mark.parametrize(
    ("name", "damaged", "words"),
    [("a.mkv", cut, r"it ends at 0:0\d\.\d00, and should at 0:02.000"), ("a.ts", scratch, "it is damaged in ")],
)
def test_damaged_video_gives_what_it_has_and_says_so(
    tmp_path: Path, name: str, damaged: Callable[[bytes], bytes], words: str
) -> None:
    whole = encode(tmp_path / name, size=(320, 240))
    (tmp_path / f"damaged-{name}").write_bytes(damaged(whole.read_bytes()))
    frames = VideoFrames(str(tmp_path / f"damaged-{name}"), EVERY)
    assert 1 <= len(list(frames)) <= 20
    (damage,) = frames.damage
    assert re.match(words, damage)


def test_damage_in_a_stretch_is_said_too(tmp_path: Path) -> None:
    video = encode(tmp_path / "a.ts", size=(320, 240))
    video.write_bytes(scratch(video.read_bytes()))
    frames = VideoFrames(str(video), Sampling(fps=None, duration_s=1.9))
    assert times_of(frames)
    assert len(frames.damage) == 1
    assert frames.end_s == 1.9


def test_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video" * 1000)
    with pytest.raises(InvalidImage, match=r"a\.mp4: not a video, or damaged"):
        VideoFrames(str(tmp_path / "a.mp4"), EVERY).open()


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(InvalidImage, match="there are no pictures in it, only audio"):
        VideoFrames(str(tmp_path / "a.wav"), EVERY).open()


def test_start_behind_the_end_is_refused(tmp_path: Path) -> None:
    video = str(encode(tmp_path / "a.mp4"))
    with pytest.raises(InvalidSetting, match=r"--start is 0:05\.000, and the video ends at 0:02\.000"):
        list(VideoFrames(video, Sampling(start_s=5.0)))


def test_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InvalidSetting) as caught:
        VideoFrames(str(tmp_path / "a.mp4"), EVERY)
    assert caught.value.hint == "Install it with: pip install 'alexnet-triton[video]'"
