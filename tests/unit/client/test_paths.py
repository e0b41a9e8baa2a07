from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from alexnet_client._cli.paths import ImagePaths, lines_as_they_come
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


def expanded(*arguments: str, stdin: bytes = b"") -> list[str]:
    return [path for path in ImagePaths(arguments, io.BytesIO(stdin)) if path is not NOTHING_YET]


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


def test_dash_reads_paths_from_stdin_among_other_arguments() -> None:
    assert expanded("a", "-", "z", stdin=b"one.jpg\n\ntwo words.jpg\r\nlast.jpg") == [
        *("a", "one.jpg", "two words.jpg", "last.jpg", "z"),
    ]


def test_number_of_paths_from_stdin_is_not_known_beforehand() -> None:
    paths = ImagePaths(["-"], io.BytesIO(b"one\n"))
    assert (paths.count(), paths.longest()) == (None, 0)
    assert [path for path in paths if path is not NOTHING_YET] == ["one"]


def test_line_of_a_silent_pipe_is_given_before_the_next_comes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        lines = lines_as_they_come(pipe)
        os.write(writing, b"first.jpg\nsec")
        assert next(line for line in lines if line is not NOTHING_YET) == "first.jpg"
        assert next(lines) is NOTHING_YET
        os.write(writing, b"ond.jpg\n")
        os.close(writing)
        assert [line for line in lines if line is not NOTHING_YET] == ["second.jpg"]


def test_name_that_is_not_utf8_stays_what_it_is() -> None:
    (path,) = expanded("-", stdin=b"\xff.jpg\n")
    assert os.fsencode(path) == b"\xff.jpg"
