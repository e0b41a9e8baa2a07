"""docs/api.md and docs/commands.md are what `make docs` writes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = ("api.md", "commands.md")


def reference(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / "reference"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_pages_are_what_the_code_says() -> None:
    done = reference("--check")
    assert done.returncode == 0, done.stderr


def test_page_that_is_out_of_date_is_named_with_the_command_that_writes_it(tmp_path: Path) -> None:
    for page in PAGES:
        shutil.copy(ROOT / "docs" / page, tmp_path)
    (tmp_path / "api.md").write_text("# Python API\n", encoding="utf-8")
    (tmp_path / "commands.md").unlink()
    stale = reference("--check", "--output", tmp_path)
    assert stale.returncode == 1
    assert stale.stderr.splitlines() == [f"docs/{page} is not what the code says: make docs" for page in PAGES]
    written = reference("--output", tmp_path)
    assert written.returncode == 0, written.stderr
    assert reference("--check", "--output", tmp_path).returncode == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_headings(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert [link for link in links if link not in headings] == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_of_docstring_syntax_or_terminal_markup(page: str) -> None:
    prose = re.sub(r"```.*?```", "", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.findall(r"``|\[/?bold\]|\[/\]|<[a-z]|\bArgs:|\bRaises:| at 0x", prose) == []
