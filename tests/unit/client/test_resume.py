from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from alexnet_client import InvalidImage, InvalidSetting, Prediction, Result
from alexnet_client._cli.classify import Run
from alexnet_client._cli.filters import Filter
from alexnet_client._cli.formats import CsvWriter, JsonLinesWriter
from alexnet_client._cli.job import Job
from alexnet_client._cli.paths import ImagePaths
from alexnet_client._cli.resume import (
    Earlier,
    RunSettings,
    check_record,
    labels_sha256,
    record_path,
    take_up,
    write_record,
)
from rich.console import Console

TOP = 2
SETTINGS = RunSettings("jsonl", "classifier", ("classifier 1", "alexnet 3"), labels_sha256(["a", "b"]), TOP, 0.0, ())


def image(name: str, *labels: str) -> Result:
    return Result(name, 0, tuple(Prediction(label, i, 0.5) for i, label in enumerate(labels)), None, 0.0)


FIRST, LAST = image("one, two\n\r.jpg", 'tabby "cat"', "lynx"), image("\udcff.jpg", "crab", "crane")
FILTERED = image("dark.jpg")
FAILED = Result("bad.jpg", 1, (), InvalidImage("bad.jpg: no such file"), 0.0)


def written(format: str, *results: Result) -> bytes:
    stream = io.StringIO()
    writer = (CsvWriter if format == "csv" else JsonLinesWriter)(stream)
    writer.begin()
    for result in results:
        writer.write(result)
    return stream.getvalue().encode("utf-8", "surrogateescape")


def resumed(path: Path, format: str) -> tuple[Earlier, list[Result]]:
    replayed: list[Result] = []
    earlier = take_up(str(path), format, TOP, replayed.append)
    return earlier, [dataclasses.replace(result, index=0) for result in replayed]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_finished_file_stays_byte_for_byte(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_bytes(written(format, FIRST, LAST))
    assert resumed(path, format) == (Earlier(frozenset({FIRST.image, LAST.image}), 0), [FIRST, LAST])
    assert path.read_bytes() == written(format, FIRST, LAST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_failed_images_are_taken_out_to_be_tried_again(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_bytes(written(format, FIRST, FAILED, FILTERED, LAST))
    assert resumed(path, format) == (
        Earlier(frozenset({FIRST.image, FILTERED.image, LAST.image}), 1),
        [FIRST, FILTERED, LAST],
    )
    assert path.read_bytes() == written(format, FIRST, FILTERED, LAST)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_file_torn_anywhere_keeps_every_whole_image_and_no_half_one(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    whole, head = written(format, FIRST, LAST), len(written(format))
    first_ends = len(written(format, FIRST))
    for length in range(head + 1, len(whole)):
        path.write_bytes(whole[:length])
        earlier, _ = resumed(path, format)
        assert (length, earlier.done) == (length, {FIRST.image} if length >= first_ends else set())
        assert earlier.again == (length != first_ends)
        assert path.read_bytes() == written(format, *([FIRST] if length >= first_ends else []))


def test_rows_of_an_image_that_were_written_in_part_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(written("csv", FIRST, LAST).rsplit(b"\n", 2)[0] + b"\n")
    assert resumed(path, "csv")[0] == Earlier(frozenset({FIRST.image}), 1)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_missing_or_empty_file_is_a_beginning(tmp_path: Path, format: str) -> None:
    (tmp_path / "empty").touch()
    assert resumed(tmp_path / "none", format) == (Earlier(), [])
    assert resumed(tmp_path / "empty", format) == (Earlier(), [])


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("jsonl", b"{}\n"),
        ("jsonl", b"[1]\n"),
        ("jsonl", b"not JSON\n"),
        ("jsonl", b'{"image": "a.jpg"}\r{"image": "b.jpg"}\r\n'),
        ("csv", b"a,b\n1,2\n"),
        ("csv", b"image,rank,label,index,score,error\na\rb.jpg,1,cat,1,0.5,\nc.jpg,1,cat,1,0.5,\n"),
        ("csv", b"image,rank,label,index,score,error\na,b\n"),
        ("csv", b"image,rank,label,index,score,error\na,1,cat,x,0.5,\nb,1,cat,x,0.5,\n"),
    ],
)
def test_other_file_is_refused_and_left_alone(tmp_path: Path, format: str, content: bytes) -> None:
    path = tmp_path / "out"
    path.write_bytes(content)
    with pytest.raises(InvalidSetting, match=f"^{path}"):
        resumed(path, format)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("out", content)]


def test_same_settings_are_accepted_and_others_refused_by_name(tmp_path: Path) -> None:
    output = str(tmp_path / "out.jsonl")
    Path(output).write_bytes(written("jsonl", FIRST))
    write_record(output, SETTINGS)
    check_record(output, SETTINGS)
    for name, value, message in (
        ("top", 5, "top was 2 and is 5"),
        ("only_label", ("cat",), 'only_label was [] and is ["cat"]'),
        (
            "versions",
            ("classifier 1", "alexnet 4"),
            'versions was ["classifier 1", "alexnet 3"] and is ["classifier 1", "alexnet 4"]',
        ),
    ):
        with pytest.raises(InvalidSetting) as caught:
            check_record(output, dataclasses.replace(SETTINGS, **{name: value}))
        assert caught.value.message == f"{output}: {message}"


@pytest.mark.parametrize("record", [None, "torn {"])
def test_file_without_a_record_is_refused(tmp_path: Path, record: str | None) -> None:
    output = str(tmp_path / "out.jsonl")
    check_record(output, SETTINGS)  # nothing is there, so nothing can differ
    Path(output).write_bytes(written("jsonl", FIRST))
    if record is not None:
        Path(record_path(output)).write_text(record)
    with pytest.raises(InvalidSetting, match=r"is not known; .*out\.jsonl\.run\.json cannot be read"):
        check_record(output, SETTINGS)


def test_record_is_readable_json(tmp_path: Path) -> None:
    write_record(str(tmp_path / "out.csv"), SETTINGS)
    assert json.loads((tmp_path / "out.csv.run.json").read_text())["versions"] == ["classifier 1", "alexnet 3"]


def test_record_stays_where_the_output_cannot_be_opened(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.symlink_to("none/out.jsonl")
    write_record(str(output), SETTINGS)
    run = Run(Job(("a.jpg",), format="jsonl", output=str(output), overwrite=True), Filter(0.0, None), Console())
    with pytest.raises(InvalidSetting, match="cannot be written"):
        run.open(ImagePaths(["a.jpg"], io.BytesIO()), ["a", "b"], dataclasses.replace(SETTINGS, top=5))
    assert json.loads(Path(record_path(str(output))).read_text())["top"] == TOP
