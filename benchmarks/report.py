"""What every measurement prints its tables with. Called by the programs of this folder."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table


def new_console() -> Console:
    """Standard output; a file or a pipe has no width of its own and gets one that the tables fit into."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def new_table(title: str, *columns: str) -> Table:
    """A table whose first column names the side."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table
