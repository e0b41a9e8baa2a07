"""Pieces of a Markdown page. In: text as it stands in docstrings and options. Out: lines that GitHub shows right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def prose(text: str) -> str:
    """A docstring's text: ``code`` in one pair of backticks, indented blocks fenced, paragraphs one line each."""
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_block(block) for block in blocks if block.strip())


def _block(block: str) -> str:
    lines = block.splitlines()
    if all(line.startswith("    ") for line in lines):
        return fenced("\n".join(line[4:] for line in lines), "text")
    if any(line.lstrip().startswith("- ") for line in lines):
        return inline("\n".join(lines))
    return inline(" ".join(line.strip() for line in lines))


def inline(text: str) -> str:
    """RST's double backticks as Markdown's single ones; outside of code, nothing is HTML or emphasis."""
    pieces = re.split(r"(`+[^`]+`+)", text)
    pieces[::2] = [piece.replace("<", "&lt;").replace("*", r"\*") for piece in pieces[::2]]
    pieces[1::2] = [re.sub(r"^``([^`]+)``$", r"`\1`", piece) for piece in pieces[1::2]]
    return "".join(pieces)


def one_line(text: str) -> str:
    """The text of an item of a list, or of a cell of a table."""
    return inline(" ".join(text.split()))


def first_sentence(text: str) -> str:
    """Up to the first full stop, semicolon or colon that ends a clause."""
    return re.split(r"(?<=[\w)\]`])[.;:](?:\s|$)", one_line(text), maxsplit=1)[0]


def fenced(code: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{code.rstrip()}\n```"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its cells not padded, so that one changed cell changes one line."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: lower case, spaces to hyphens, other signs dropped."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
