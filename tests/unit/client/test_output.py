"""What the command line writes: the machine formats, the table, the status."""

from __future__ import annotations

import io
import json

import pytest
from alexnet_client import InvalidImage, ModelStatus, Prediction, Result, ServerStatus, ServerUnreachable
from alexnet_client._cli.formats import CsvWriter, JsonLinesWriter, JsonWriter
from alexnet_client._cli.report import print_status, row_from_status
from alexnet_client._cli.table import TableWriter, bar
from rich.cells import cell_len
from rich.console import Console

CAT = Result("cat, sat.jpg", 0, (Prediction("tabby", 281, 0.75), Prediction('lynx "wild"', 287, 0.125)), None, 0.0123)
BAD = Result("bad.jpg", 1, (), InvalidImage("bad.jpg: no such file", hint="look"), 0.001)


def written(kind: type, *results: Result) -> str:
    stream = io.StringIO()
    writer = kind(stream)
    writer.begin()
    for result in results:
        writer.write(result)
    writer.end()
    return stream.getvalue()


def table(*results: Result, width: int | None = None, longest_name: int = 0) -> list[str]:
    stream = io.StringIO()
    terminal = width is not None
    console = Console(file=stream, force_terminal=terminal, width=width, color_system=None, highlight=False)
    writer = TableWriter(console, longest_name)
    writer.begin()
    for result in results:
        writer.write(result)
    return stream.getvalue().splitlines()


def test_json_lines_have_exactly_the_agreed_keys() -> None:
    assert written(JsonLinesWriter, CAT, BAD) == (
        '{"image": "cat, sat.jpg", "predictions": [{"label": "tabby", "index": 281, "score": 0.75}, '
        '{"label": "lynx \\"wild\\"", "index": 287, "score": 0.125}], "error": null}\n'
        '{"image": "bad.jpg", "predictions": [], "error": "bad.jpg: no such file"}\n'
    )


@pytest.mark.parametrize("results", [(), (CAT,), (CAT, BAD)])
def test_json_is_one_array_of_the_same_rows(results: tuple[Result, ...]) -> None:
    lines = written(JsonLinesWriter, *results).splitlines()
    assert json.loads(written(JsonWriter, *results)) == [json.loads(line) for line in lines]


def test_csv_has_a_row_a_prediction_and_one_for_a_failure() -> None:
    assert written(CsvWriter, CAT, BAD).splitlines() == [
        "image,rank,label,index,score,error",
        '"cat, sat.jpg",1,tabby,281,0.75,',
        '"cat, sat.jpg",2,"lynx ""wild""",287,0.125,',
        "bad.jpg,,,,,bad.jpg: no such file",
    ]


def test_csv_quotes_every_character_that_ends_a_line() -> None:
    names = ("a\rb", "a\nb", 'a"b', "ab")
    lines = written(CsvWriter, *(Result(name, 0, (), None, 0.1) for name in names)).split("\n", 1)[1]
    assert lines == '"a\rb",,,,,\n"a\nb",,,,,\n"a""b",,,,,\nab,,,,,\n'


def test_csv_has_a_row_for_an_image_without_predictions() -> None:
    assert written(CsvWriter, Result("a.jpg", 0, (), None, 0.1)).splitlines()[1:] == ["a.jpg,,,,,"]


def test_table_outside_a_terminal_is_aligned_plain_text() -> None:
    assert table(CAT, BAD, longest_name=12) == [
        "photograph    label                                   score       time",
        "cat, sat.jpg  tabby                                  0.7500    12.3 ms",
        '              lynx "wild"                            0.1250',
        "bad.jpg       failed: no such file",
    ]


def test_table_on_a_terminal_of_80_columns_has_bars_and_fits() -> None:
    lines = table(CAT, width=80, longest_name=12)
    assert lines[1] == "cat, sat.jpg  tabby                                0.7500  ███████▌      12.3 ms"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_table_fits_the_terminal_with_long_and_wide_names(width: int) -> None:
    long = Result("photographs/" * 20 + "猫.jpg", 0, (Prediction("猫" * 90, 1, 1.0),), None, 12.0)
    failed = Result("x" * 300, 0, (), InvalidImage("y" * 300), 0.0)
    lines = table(long, failed, width=width)
    assert max(map(cell_len, lines)) <= width
    assert "猫.jpg" in lines[1]


def test_table_on_a_terminal_wraps_the_reason_of_a_failure() -> None:
    failed = Result("a.jpg", 0, (), InvalidImage("not an image in a known format: 7 bytes of text"), 0.0)
    assert table(failed, width=50, longest_name=5)[1:] == [
        "a.jpg       failed: not an image in a known",
        "            format: 7 bytes of text",
    ]


def test_table_outside_a_terminal_shortens_nothing() -> None:
    long = Result("a/" * 200 + "cat.jpg", 0, (Prediction("b" * 200, 1, 1.0),), None, 0.0)
    assert "a/" * 200 + "cat.jpg" in table(long)[1]
    assert "b" * 200 in table(long)[1]


def test_table_lets_no_control_character_through() -> None:
    evil = Result("a\x1b[31m\n.jpg", 0, (Prediction("b\x9b\r", 1, 1.0),), None, 0.0)
    assert not set("\x1b\x9b\r") & set("\n".join(table(evil, longest_name=10)))
    assert len(table(evil)) == 2


def test_table_names_a_class_without_a_label_by_its_index() -> None:
    assert "(class 7)" in table(Result("a", 0, (Prediction("", 7, 1.0),), None, 0.0))[1]


@pytest.mark.parametrize(
    ("score", "cells"),
    [(0.0, "    "), (1.0, "████"), (0.5, "██  "), (0.53125, "██▏ "), (1.7, "████"), (-1, "    ")],
)
def test_bar_counts_in_eighths_of_a_column(score: float, cells: str) -> None:
    assert bar(score, 4) == cells


SERVING = ServerStatus("gpu:8001", "triton", "2.69.0", True, True, (ModelStatus("classifier", ("1", "2"), True),), None)


def test_status_shows_versions_and_what_is_wrong() -> None:
    down = ServerStatus(
        "gpu:8001", "triton", "2.69.0", True, False, (ModelStatus("alexnet", (), False),), "not [ready]"
    )
    stream = io.StringIO()
    for status in (SERVING, down):
        print_status(Console(file=stream, width=80), status)
    assert stream.getvalue().splitlines() == [
        "gpu:8001  triton 2.69.0",
        "  server      ready",
        "  classifier  ready      version 1, 2",
        "  serving     yes",
        "gpu:8001  triton 2.69.0",
        "  server   not ready  live",
        "  alexnet  not ready  no version is served",
        "  serving  no: not [ready]",
    ]


def test_status_as_json_has_the_same_keys_with_and_without_an_answer() -> None:
    row = row_from_status(SERVING, "gpu:8001")
    silent = row_from_status(ServerUnreachable("refused"), "gpu:8001")
    assert row["serving"] is True
    assert json.loads(json.dumps(row))["models"] == [
        {"name": "classifier", "versions": ["1", "2"], "ready": True, "work": None}
    ]
    assert list(silent) == list(row)
    assert (silent["serving"], silent["fault"]) == (False, "refused")
