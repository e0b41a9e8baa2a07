from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from alexnet_client import Result
from alexnet_client._cli import progress
from alexnet_client._cli.progress import MANY, summary, with_progress
from rich.console import Console

RESULTS = [Result(f"{index}.jpg", index, (), None, 0.0) for index in range(MANY)]


def said(total: int | None, already: int = 0) -> str:
    stream = io.StringIO()
    messages = Console(file=stream, force_terminal=True, width=80, color_system=None)
    assert list(with_progress(RESULTS, messages, total, already)) == RESULTS
    return stream.getvalue()


def test_bar_counts_images_of_an_earlier_run_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, *(100.0 + 0.5 * index for index in range(1, MANY + 1))])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    text = said(total=1000 + MANY, already=1000)
    counts = re.findall(rf"(\d+)/{1000 + MANY}", text)
    assert (counts[0], counts[-1]) == ("1000", str(1000 + MANY))
    # two images of this run a second; with those of the earlier run it would begin at 2002
    assert set(re.findall(r"(\d+) images/s", text)) == {"2"}


def test_number_that_is_not_known_beforehand_is_a_question_mark() -> None:
    assert f"{MANY}/?" in said(total=None)


@pytest.mark.parametrize(("total", "already"), [(0, 0), (MANY - 1, 0), (1000, 1000 - MANY + 1)])
def test_few_images_have_no_bar(total: int, already: int) -> None:
    assert said(total, already) == ""


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ({"count": 1, "elapsed_s": 0.52, "failed": 0}, "1 image in 0.5 s"),
        ({"count": 40, "elapsed_s": 2.0, "failed": 3}, "40 images in 2.0 s, 20 images/s, 3 failed"),
        (
            {"count": 2, "elapsed_s": 1.0, "failed": 0, "without": 1, "already": 5, "skipped": 1},
            "2 images in 1.0 s, 1 without such a prediction, 5 already done, 1 other file skipped",
        ),
    ],
)
def test_summary_names_what_became_of_every_image(numbers: dict[str, Any], line: str) -> None:
    assert summary(**numbers) == line
