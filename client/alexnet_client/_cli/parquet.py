"""Results as a Parquet file: the columns of the CSV format, with types. In: results. Out: bytes in an open file.

Called by: ``output``. A row a prediction, as pandas and DuckDB group and count them without unnesting:

    SELECT label, count(*) FROM 'predictions.parquet' WHERE rank = 1 GROUP BY label
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from alexnet_client._errors import InvalidSetting
from alexnet_client._predictions import Result

from .formats import CSV_HEADER, rows_from_result

if TYPE_CHECKING:
    import pyarrow

ROWS_A_GROUP = 1 << 16  # held in memory; a row group of some megabytes is what readers like


class ParquetWriter:
    """``image, rank, label, index, score, error``; null where a column has nothing to say.

    Args:
        file: Open for writing; whoever opened it closes it.
        about: What the file says of itself, in its metadata.

    Raises:
        InvalidSetting: pyarrow is not installed.
    """

    def __init__(self, file: IO[bytes], about: Mapping[str, str] | None = None) -> None:
        try:
            import pyarrow
        except ImportError as error:
            raise InvalidSetting(
                f"the Parquet format needs pyarrow ({error})",
                hint="Install it with: pip install 'alexnet-triton[parquet]'",
            ) from error
        self._file, self._about = file, dict(about or {})
        types = (pyarrow.string(), pyarrow.int32(), pyarrow.string(), pyarrow.int32(), pyarrow.float64())
        fields = zip(CSV_HEADER, (*types, pyarrow.string()), strict=True)
        self._schema: pyarrow.Schema = pyarrow.schema(
            [pyarrow.field(name, kind, nullable=name != "image") for name, kind in fields], metadata=self._about
        )
        self._rows: list[tuple[Any, ...]] = []

    def begin(self) -> None:
        """The head of the file."""
        from pyarrow.parquet import ParquetWriter as ArrowWriter

        self._writer = ArrowWriter(self._file, self._schema, compression="zstd")

    def write(self, result: Result) -> None:
        """The image's rows, held until a row group is full."""
        self._rows += rows_from_result(result)
        if len(self._rows) >= ROWS_A_GROUP:
            self._write_group()

    def end(self) -> None:
        """The last rows and the index, without which nothing can be read."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow

        columns = [
            pyarrow.array([_text(value) for value in column], field.type)
            for column, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))
        self._rows = []


def _text(value: Any) -> Any:
    r"""Parquet's strings are UTF-8: a byte of a file's name that is not becomes ``\xff``."""
    return os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value
