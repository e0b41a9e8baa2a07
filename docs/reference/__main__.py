"""Write docs/api.md and docs/commands.md from the docstrings and the options in the code.

`make docs` runs this, as ``python docs/reference``. With ``--check`` nothing is written, and the exit status is 1 if a
page is not what would be written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from command_lines import commands_page
from python_api import api_page

DOCS = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write the pages, or compare them; the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/reference", description="Write the reference pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    parser.add_argument("--output", type=Path, default=DOCS, metavar="DIR", help="where the pages are")
    arguments = parser.parse_args()
    pages = {"api.md": api_page(), "commands.md": commands_page()}
    stale = [name for name, page in pages.items() if text_of(arguments.output / name) != page]
    for name in stale:
        if arguments.check:
            print(f"docs/{name} is not what the code says: make docs", file=sys.stderr)
        else:
            (arguments.output / name).write_text(pages[name], encoding="utf-8")
            print(f"docs/{name} is written", file=sys.stderr)
    return 1 if arguments.check and stale else 0


def text_of(path: Path) -> str | None:
    """The page that is there; None if there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else None


sys.exit(main())
