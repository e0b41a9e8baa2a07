from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from alexnet_client import AlexNetClientError, InvalidSetting
from alexnet_client._cli.path_lists import own_stdin, paths_as_they_come
from alexnet_client._cli.paths import ImagePaths, StdinImage
from alexnet_client._images import image_name
from alexnet_client._many import NOTHING_YET


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        "sub/c.webp",
        "sub/deep/d.tiff",
        "sub/e.mp4",
        ".hidden/f.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expanded(*arguments: str, lists: Iterable[str] = (), null: bool = False, stdin: bytes = b"") -> list[str]:
    paths = ImagePaths(arguments, io.BytesIO(stdin), lists=lists, null=null)
    return [path for path in paths if path is not NOTHING_YET]


@pytest.mark.usefixtures("folder")
def test_directory_gives_its_images_recursively_sorted_and_counts_the_rest() -> None:
    paths = ImagePaths(["."], io.BytesIO())
    assert list(paths) == ["./a.png", "./b.JPG", "./sub/c.webp", "./sub/deep/d.tiff"]
    assert paths.skipped == 2
    assert (paths.count(), paths.longest()) == (4, len("./sub/deep/d.tiff"))
    assert list(paths) == ["./a.png", "./b.JPG", "./sub/c.webp", "./sub/deep/d.tiff"]
    assert paths.skipped == 2


@pytest.mark.usefixtures("folder")
def test_named_file_is_kept_whatever_its_suffix() -> None:
    assert expanded("notes.txt", "none.jpg") == ["notes.txt", "none.jpg"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*.png", ["a.png"]),
        ("**/*.*i*", ["sub/deep/d.tiff"]),
        ("s*", ["sub/c.webp", "sub/deep/d.tiff"]),
        ("*.gif", ["*.gif"]),
    ],
)
def test_quoted_pattern_is_expanded(pattern: str, paths: list[str]) -> None:
    assert expanded(pattern) == paths


def test_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "x[1].jpg").touch()
    assert expanded("x[1].jpg") == ["x[1].jpg"]


def test_dash_is_the_bytes_of_one_image_among_other_arguments() -> None:
    paths = ImagePaths(["a", "-", "z"], io.BytesIO(b"\xff\xd8 a JPEG"))
    first, image, last = paths
    assert (first, last) == ("a", "z")
    assert isinstance(image, StdinImage)
    assert (image_name(image), image.read()) == ("-", b"\xff\xd8 a JPEG")
    assert (paths.count(), paths.longest()) == (3, 1)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("stdin", "first", "option"),
    [
        (b"none.jpg\nb\n", "none.jpg", "--from-file -"),
        (b"\n  none.PNG\r\n", "none.PNG", "--from-file -"),
        (b"notes.txt\n", "notes.txt", "--from-file -"),
        (b"./none.gif\0b\0", "./none.gif", "--from-file - --null"),
    ],
)
def test_list_of_paths_where_an_image_is_meant_is_refused(stdin: bytes, first: str, option: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        ImagePaths(["-"], io.BytesIO(stdin)).stdin_bytes()
    assert repr(first) in caught.value.message
    assert caught.value.hint == f"Read a list with: alexnet-client classify {option}"


@pytest.mark.parametrize("stdin", [b"", b"broken", b"\x89PNG\r\n\x1a\n", b"GIF89a\x10\0", b"\0a.jpg"])
def test_bytes_that_are_no_list_are_left_to_the_server(stdin: bytes) -> None:
    assert ImagePaths(["-"], io.BytesIO(stdin)).stdin_bytes() == stdin


def test_terminal_is_no_image() -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as stdin, pytest.raises(InvalidSetting, match="a terminal"):
        ImagePaths(["-"], stdin).stdin_bytes()
    os.close(controller)


@pytest.mark.parametrize(("arguments", "lists"), [(["-", "-"], []), (["-"], ["-"]), ([], ["-", "-"])])
def test_stdin_is_wanted_only_once(arguments: list[str], lists: list[str]) -> None:
    with pytest.raises(InvalidSetting, match="only once"):
        ImagePaths(arguments, io.BytesIO(), lists=lists)


def test_list_on_stdin_comes_after_the_arguments() -> None:
    assert expanded("a", lists=["-"], stdin=b"one.jpg\n\ntwo words.jpg\r\nlast.jpg") == [
        *("a", "one.jpg", "two words.jpg", "last.jpg"),
    ]


def test_list_with_nul_keeps_every_character_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\nb.jpg\0c.jpg\r\0d.jpg")
    names = ["a\nb.jpg", "c.jpg\r", "d.jpg"]
    assert expanded(lists=[str(tmp_path / "list")], null=True) == names
    assert expanded(lists=["-"], null=True, stdin=(tmp_path / "list").read_bytes()) == names


def test_list_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(InvalidSetting, match=r"^none.txt: the list of paths cannot be read \(No such file"):
        ImagePaths([], io.BytesIO(), lists=["none.txt"])


def test_number_of_paths_from_stdin_is_not_known_beforehand() -> None:
    paths = ImagePaths([], io.BytesIO(b"one\n"), lists=["-"])
    assert (paths.count(), paths.longest()) == (None, 0)
    assert [path for path in paths if path is not NOTHING_YET] == ["one"]


@pytest.mark.usefixtures("folder")
def test_directory_that_is_written_into_is_not_searched() -> None:
    assert list(ImagePaths([".", "**/*.webp"], io.BytesIO(), leave_out="sub")) == ["./a.png", "./b.JPG"]
    assert list(ImagePaths(["sub/c.webp"], io.BytesIO(), leave_out="sub")) == ["sub/c.webp"]


def test_directory_that_is_written_into_is_not_searched_through_a_link(folder: Path) -> None:
    (folder / "link").symlink_to(folder)
    (folder / "out").symlink_to("sub")
    assert list(ImagePaths(["link"], io.BytesIO(), leave_out="out")) == ["link/a.png", "link/b.JPG"]
    assert list(ImagePaths(["out", "out/*.webp"], io.BytesIO(), leave_out="sub")) == []


@pytest.mark.parametrize("pattern", ["data/**/train", "data/**/train/", "data/**", "data/**/", "data/**/*", "**/*a*"])
def test_pattern_that_matches_directories_and_what_they_hold_gives_each_image_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["data/a/train/cat.jpg", "data/b/train/deep/train/dog.jpg"]
    for name in names:
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
    assert expanded(pattern) == names


@pytest.mark.usefixtures("folder")
def test_directory_that_cannot_be_read_is_passed_on_to_fail_as_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refused(path: str) -> object:
        if path == "./sub/deep":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert expanded(".") == ["./a.png", "./b.JPG", "./sub/c.webp", "./sub/deep"]


@pytest.mark.usefixtures("folder")
def test_directory_that_a_pattern_cannot_read_is_passed_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != "sub/deep")
    assert expanded("sub/**/*p") == ["sub/c.webp", "sub/deep/d.tiff"]
    assert expanded("s*/**") == ["sub/c.webp", "sub/deep", "sub/deep/d.tiff", "sub/e.mp4"]


def test_pipe_in_a_directory_is_no_image_and_a_link_to_nowhere_fails_as_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("none.jpg")
    paths = ImagePaths([str(tmp_path)], io.BytesIO())
    assert (list(paths), paths.skipped) == ([f"{tmp_path}/link.jpg"], 1)


@pytest.mark.usefixtures("folder")
def test_paths_that_are_done_are_left_out_and_counted() -> None:
    paths = ImagePaths(["."], io.BytesIO())
    paths.done = {"./b.JPG", "./sub/c.webp", "gone.jpg"}
    assert list(paths) == ["./a.png", "./sub/deep/d.tiff"]
    assert (paths.count(), paths.already) == (2, 2)


def test_line_of_a_silent_pipe_is_given_before_the_next_comes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        lines = paths_as_they_come(pipe)
        os.write(writing, b"first.jpg\nsec")
        assert next(line for line in lines if line is not NOTHING_YET) == "first.jpg"
        assert next(lines) is NOTHING_YET
        os.write(writing, b"ond.jpg\n")
        os.close(writing)
        assert [line for line in lines if line is not NOTHING_YET] == ["second.jpg"]


def test_pipe_named_as_a_list_is_read_once_and_not_before_the_run() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one.jpg\ntwo.jpg\n")
    os.close(writing)
    paths = ImagePaths([], io.BytesIO(), lists=[f"/dev/fd/{reading}"])
    assert (paths.count(), paths.longest()) == (None, 0)
    assert [path for path in paths if path is not NOTHING_YET] == ["one.jpg", "two.jpg"]
    os.close(reading)


def test_named_pipe_is_opened_once_and_its_writer_is_awaited(tmp_path: Path) -> None:
    name = tmp_path / "list"
    os.mkfifo(name)
    paths = iter(ImagePaths([], io.BytesIO(), lists=[str(name)]))
    assert next(paths) is NOTHING_YET
    writing = os.open(name, os.O_WRONLY)
    os.write(writing, b"one.jpg\n")
    assert next(path for path in paths if path is not NOTHING_YET) == "one.jpg"
    os.close(writing)
    assert [path for path in paths if path is not NOTHING_YET] == []


def test_pipe_that_does_not_wait_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as pipe:
        lines = paths_as_they_come(pipe)
        assert next(lines) is NOTHING_YET
        os.write(writing, b"one.jpg\n")
        os.close(writing)
        assert [line for line in lines if line is not NOTHING_YET] == ["one.jpg"]


def test_list_that_breaks_off_is_an_error_after_what_was_read() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    lines = paths_as_they_come(Broken(b"one.jpg\ntw"))
    assert next(line for line in lines if line is not NOTHING_YET) == "one.jpg"
    with pytest.raises(AlexNetClientError, match=r"^stdin: the list of paths cannot be read \(Input/output error\)$"):
        list(lines)


def test_stdin_that_was_closed_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert own_stdin().read() == b""


def test_name_that_is_not_utf8_stays_what_it_is() -> None:
    (path,) = expanded(lists=["-"], stdin=b"\xff.jpg\n")
    assert os.fsencode(path) == b"\xff.jpg"
