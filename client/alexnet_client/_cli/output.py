"""Where results go, and as what: ``--format`` and ``--output``. In: their values. Out: a writer.

JSON Lines, CSV and tables go to their file as they come, so that they can be followed and taken up again; JSON
and Parquet cannot be read before their end, and appear whole. Called by: ``classify``.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping
from typing import IO

from rich.console import Console

from alexnet_client._errors import InvalidSetting
from alexnet_client._predictions import Result

from .files import WholeFile, opened
from .formats import CsvWriter, JsonLinesWriter, JsonWriter, Writer
from .parquet import ParquetWriter
from .table import TableWriter

STDOUT = "-"
FORMAT_FROM_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "table",
}


def format_from(format: str | None, output: str | None) -> str:
    """The format that was asked for; else the one that the file's suffix means; else a table.

    Raises:
        InvalidSetting: The suffix means none, or the format cannot go to stdout.
    """
    if format is None and output not in (None, STDOUT):
        suffix = os.path.splitext(str(output))[1].lower()
        if suffix not in FORMAT_FROM_SUFFIX:
            raise InvalidSetting(
                f"{output}: its suffix is none of {', '.join(FORMAT_FROM_SUFFIX)}",
                hint="Say what to write with --format",
            )
        format = FORMAT_FROM_SUFFIX[suffix]
    if format == "parquet" and output in (None, STDOUT):
        raise InvalidSetting("the Parquet format needs a file", hint="Name it with: --output predictions.parquet")
    return format or "table"


def writer_for(
    format: str,
    output: str | None = None,
    *,
    continued: bool = False,
    longest_name: int = 0,
    about: Mapping[str, str] | None = None,
) -> Writer:
    """The writer for ``format``.

    Args:
        format: table, jsonl, json, csv or parquet.
        output: The file; None for stdout.
        continued: Whether the file has earlier results, which stay.
        longest_name: Columns of the longest image name, for the table.
        about: What a Parquet file says of itself.

    Raises:
        InvalidSetting: The file cannot be written, or what the format needs is missing.
    """
    if output is None:
        return _text_writer(format, sys.stdout, longest_name=longest_name)
    if format == "parquet":
        return Whole(output, lambda file: ParquetWriter(file, about))
    if format == "json":
        return Whole(output, lambda file: JsonWriter(_text(file)))
    stream = _text(opened(output, "ab" if continued else "wb", output))
    return Closing(stream, _text_writer(format, stream, continued=continued, longest_name=longest_name))


def _text_writer(format: str, stream: IO[str], *, continued: bool = False, longest_name: int = 0) -> Writer:
    if format == "table":
        return TableWriter(Console(file=stream, highlight=False), longest_name)
    if format == "csv":
        return CsvWriter(stream, header=not continued)
    return JsonLinesWriter(stream) if format == "jsonl" else JsonWriter(stream)


def _text(file: IO[bytes]) -> IO[str]:
    """Names that are not UTF-8 go out as they came."""
    return io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")


class Closing:
    """A writer that closes its file at the end."""

    def __init__(self, stream: IO[str], writer: Writer) -> None:
        self._stream = stream
        self.begin, self.write = writer.begin, writer.write
        self._end = writer.end

    def end(self) -> None:
        """The writer's end, and the file's."""
        try:
            self._end()
        finally:
            self._stream.close()


class Whole:
    """A writer whose file appears at the end, with all that was written until then.

    Args:
        path: Its name.
        writer_from: The writer on the open file.
    """

    def __init__(self, path: str, writer_from: Callable[[IO[bytes]], Writer]) -> None:
        self._file = WholeFile(path)
        try:
            self._writer = writer_from(self._file.file)
        except BaseException:
            self._file.discard()
            raise

    def begin(self) -> None:
        """The writer's own."""
        try:
            self._writer.begin()
        except BaseException:
            self._file.discard()
            raise

    def write(self, result: Result) -> None:
        """One result."""
        self._writer.write(result)

    def end(self) -> None:
        """The file gets its name, unless its end cannot be written."""
        try:
            self._writer.end()
            self._file.commit()
        except BaseException:
            self._file.discard()
            raise
