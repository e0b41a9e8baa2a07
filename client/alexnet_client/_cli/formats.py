"""Results as JSON, JSON Lines and CSV. In: results, one at a time. Out: text on a stream, as they come."""

from __future__ import annotations

import csv
import json
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


class JsonLinesWriter:
    """One line an image."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def begin(self) -> None:
        """Nothing."""

    def write(self, result: Result) -> None:
        """One line, flushed, so that a reader at the other end of a pipe sees it now."""
        print(json.dumps(row_from_result(result), ensure_ascii=False), file=self._stream, flush=True)

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
        self._stream.write(self._before + json.dumps(row_from_result(result), ensure_ascii=False))
        self._before = ",\n  "

    def end(self) -> None:
        """The closing bracket."""
        self._stream.write("[]\n" if self._before.startswith("[") else "\n]\n")
        self._stream.flush()


class CsvWriter:
    """One row a prediction; an image that failed has one row with its error."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._csv = csv.writer(stream, lineterminator="\n")

    def begin(self) -> None:
        """The header."""
        self._csv.writerow(CSV_HEADER)

    def write(self, result: Result) -> None:
        """The image's rows, flushed."""
        if result.error is not None:
            self._csv.writerow((result.image, "", "", "", "", result.error.message))
        for rank, p in enumerate(result.predictions, start=1):
            self._csv.writerow((result.image, rank, p.label, p.index, p.score, ""))
        self._stream.flush()

    def end(self) -> None:
        """Nothing."""
