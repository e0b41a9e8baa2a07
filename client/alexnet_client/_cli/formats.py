"""Results as JSON, JSON Lines and CSV. In: results, one at a time. Out: text on a stream, as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import IO, Any, Protocol

from alexnet_client._predictions import Result

CSV_HEADER = ("image", "rank", "label", "index", "score", "error")


class Writer(Protocol):
    """Writes results in one format."""

    def begin(self) -> None:
        """Before the first result."""

    def write(self, result: Result) -> None:
        """One result, at once."""

    def end(self) -> None:
        """After the last result, also when the run was interrupted."""


def row_from_result(result: Result) -> dict[str, Any]:
    """One image as JSON: its name, its predictions, and its error or null."""
    return {
        "image": result.image,
        "predictions": [{"label": p.label, "index": p.index, "score": p.score} for p in result.predictions],
        "error": None if result.error is None else result.error.message,
    }


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows of CSV, each ended by ``\n``; quoted where a cell has a comma, a quote, ``\n`` or ``\r``."""
    text = ""
    for row in rows:
        line = io.StringIO()
        # before Python 3.13 only characters of the line's end are quoted, so that it has to have both
        csv.writer(line, lineterminator="\r\n").writerow(row)
        text += line.getvalue().removesuffix("\r\n") + "\n"
    return text


def rows_from_result(result: Result) -> list[tuple[Any, ...]]:
    """One image as rows of ``CSV_HEADER``, None where there is nothing to say.

    A row a prediction; one row for an image that failed, or of which no prediction was kept.
    """
    if result.predictions:
        predictions = enumerate(result.predictions, start=1)
        return [(result.image, rank, p.label, p.index, p.score, None) for rank, p in predictions]
    return [(result.image, None, None, None, None, None if result.error is None else result.error.message)]


class JsonLinesWriter:
    """One line an image."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def begin(self) -> None:
        """Nothing."""

    def write(self, result: Result) -> None:
        """One line, flushed, so that a reader at the other end of a pipe sees it now."""
        self._stream.write(json.dumps(row_from_result(result), ensure_ascii=False) + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Nothing."""


class JsonWriter:
    """One array of the same rows; well-formed after ``end``, however many there were."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._before = "[\n  "

    def begin(self) -> None:
        """Nothing: the bracket comes with the first row."""

    def write(self, result: Result) -> None:
        """One row."""
        text = self._before + json.dumps(row_from_result(result), ensure_ascii=False)
        self._before = ",\n  "  # first, as Ctrl-C is heeded right after a write
        self._stream.write(text)

    def end(self) -> None:
        """The closing bracket."""
        self._stream.write("[]\n" if self._before.startswith("[") else "\n]\n")
        self._stream.flush()


class CsvWriter:
    """One row a prediction; an image that failed has one row with its error.

    Args:
        stream: Where to.
        header: Whether the first line names the columns; not where a file is continued.
    """

    def __init__(self, stream: IO[str], header: bool = True) -> None:
        self._stream = stream
        self._header = header

    def begin(self) -> None:
        """The header."""
        if self._header:
            self._write([CSV_HEADER])

    def write(self, result: Result) -> None:
        """The image's rows, in one piece, flushed."""
        self._write(rows_from_result(result))

    def end(self) -> None:
        """Nothing."""

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        self._stream.write(csv_text(rows))
        self._stream.flush()
