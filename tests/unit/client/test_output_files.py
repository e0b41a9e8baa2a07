"""Where `classify` writes: files that appear whole, files that grow, and requests that are refused."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from alexnet_client import InvalidImage, InvalidSetting, Prediction, Result
from alexnet_client._cli.job import Job
from alexnet_client._cli.output import format_from, writer_for

CAT = Result("cat.jpg", 0, (Prediction("tabby", 281, 0.75), Prediction("lynx", 287, 0.125)), None, 0.0123)
BAD = Result("\udcff.jpg", 1, (), InvalidImage("no such file"), 0.001)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("format", "output", "meant"),
    [
        (None, None, "table"),
        (None, "-", "table"),
        (None, "a.JSONL", "jsonl"),
        (None, "a.ndjson", "jsonl"),
        (None, "dir.csv/a.parquet", "parquet"),
        (None, "a.txt", "table"),
        ("csv", "a.json", "csv"),
        ("json", None, "json"),
    ],
)
def test_format_is_what_was_said_or_what_the_suffix_means(format: str | None, output: str | None, meant: str) -> None:
    assert format_from(format, output) == meant


@pytest.mark.parametrize(("format", "output"), [(None, "a.xml"), (None, "csv"), ("parquet", None), ("parquet", "-")])
def test_format_that_cannot_be_known_or_written_is_refused(format: str | None, output: str | None) -> None:
    with pytest.raises(InvalidSetting):
        format_from(format, output)


@pytest.mark.parametrize("format", ["json", "parquet"])
def test_file_that_needs_its_end_appears_whole_with_what_was_written(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    writer = writer_for(format, str(path))
    writer.begin()
    writer.write(CAT)
    assert path.read_text() == "before"
    writer.end()
    assert names(tmp_path) == ["out"]
    assert path.read_bytes() != b"before"


@pytest.mark.parametrize(("format", "lines"), [("jsonl", 1), ("csv", 3), ("table", 3)])
def test_file_that_can_be_followed_has_each_result_at_once(tmp_path: Path, format: str, lines: int) -> None:
    writer = writer_for(format, str(tmp_path / "out"))
    writer.begin()
    writer.write(CAT)
    assert len((tmp_path / "out").read_text().splitlines()) == lines
    writer.end()


def test_continued_csv_has_one_header(tmp_path: Path) -> None:
    path = str(tmp_path / "out.csv")
    for continued, result in ((False, CAT), (True, BAD)):
        writer = writer_for("csv", path, continued=continued)
        writer.begin()
        writer.write(result)
        writer.end()
    assert Path(path).read_bytes().splitlines() == [
        *(b"image,rank,label,index,score,error", b"cat.jpg,1,tabby,281,0.75,", b"cat.jpg,2,lynx,287,0.125,"),
        b"\xff.jpg,,,,,no such file",
    ]


def test_named_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = writer_for("json", str(tmp_path / "pipe"))
    writer.begin()
    writer.write(CAT)
    writer.end()
    assert json.loads(os.read(reading, 65536))[0]["image"] == "cat.jpg"
    os.close(reading)
    assert names(tmp_path) == ["pipe"]


def test_symbolic_link_to_the_results_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("real.json")
    writer = writer_for("json", str(tmp_path / "link.json"))
    writer.begin()
    writer.end()
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "[]\n"


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_folder_that_is_not_there_is_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(InvalidSetting, match=r"none/out: cannot be written \(No such file or directory\)"):
        writer_for(format, str(tmp_path / "none" / "out"))


def test_parquet_has_typed_columns_and_a_row_a_prediction(tmp_path: Path) -> None:
    from pyarrow import parquet

    writer = writer_for("parquet", str(tmp_path / "out.parquet"), about={"alexnet_client": "{}"})
    writer.begin()
    for result in (CAT, BAD, dataclasses.replace(CAT, image="dark.jpg", predictions=())):
        writer.write(result)
    writer.end()
    table = parquet.read_table(tmp_path / "out.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        *(("image", "string"), ("rank", "int32"), ("label", "string")),
        *(("index", "int32"), ("score", "double"), ("error", "string")),
    ]
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("cat.jpg", 1, "tabby", 281, 0.75, None),
        ("cat.jpg", 2, "lynx", 287, 0.125, None),
        ("\\xff.jpg", None, None, None, None, "no such file"),
        ("dark.jpg", None, None, None, None, None),
    ]
    assert table.schema.metadata == {b"alexnet_client": b"{}"}


def test_parquet_is_written_in_groups_that_bound_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet_client._cli import parquet as module
    from pyarrow import parquet

    monkeypatch.setattr(module, "ROWS_A_GROUP", 4)
    writer = writer_for("parquet", str(tmp_path / "out.parquet"))
    writer.begin()
    for _ in range(5):
        writer.write(CAT)
    writer.end()
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 4, 2]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidSetting) as caught:
        writer_for("parquet", str(tmp_path / "out.parquet"))
    assert caught.value.hint == "Install it with: pip install 'alexnet-triton[parquet]'"
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arguments": ()}, "no image is named"),
        ({"null": True}, "--null is about lists"),
        ({"link": "hard"}, "--link is about sorting"),
        ({"dry_run": True}, "--dry-run is about sorting"),
        ({"arguments": ("-",), "sort_into": "out"}, "no name to sort it by"),
        ({"resume": True}, "--resume needs a file"),
        ({"resume": True, "output": "a.json", "format": "json"}, "--resume needs a file"),
        ({"resume": True, "output": "a.csv", "format": "csv", "overwrite": True}, "contradict"),
        ({"resume": True, "output": "a.csv", "format": "csv", "arguments": ("-",)}, "not known to --resume"),
        ({"output": "a.html", "contact_sheet": "./a.html"}, "cannot be both"),
        ({"output": "full.csv", "format": "csv"}, "full.csv: there is such a file"),
        ({"contact_sheet": "full.csv"}, "full.csv: there is such a file"),
        ({"resume": True, "output": "a.csv", "format": "csv", "contact_sheet": "full.csv"}, "full.csv: there is"),
    ],
)
def test_contradicting_options_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full.csv").write_text("results")
    with pytest.raises(InvalidSetting, match=message):
        Job(**{"arguments": ("cat.jpg",)} | options)


def test_file_that_is_there_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    full, empty = tmp_path / "full.csv", tmp_path / "empty.csv"
    full.write_text("results")
    empty.touch()
    with pytest.raises(InvalidSetting) as caught:
        Job(("a.jpg",), format="csv", output=str(full))
    assert caught.value.hint == "--resume continues it, --overwrite replaces it"
    for job in (
        {"output": str(full), "overwrite": True},
        {"output": str(full), "resume": True},
        {"output": str(empty)},
    ):
        assert Job(("a.jpg",), format="csv", **job).resumable  # type: ignore[arg-type]
