"""The README's commands, run in the order in which a newcomer would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

#: Sections whose commands need what is not on every machine: a GPU, photographs of one's own.
NOT_RUN = {"On a GPU", "Your own network"}


def blocks(language: str) -> dict[str, list[str]]:
    """Code blocks of a language, by the heading that they stand under."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", README, flags=re.MULTILINE)[1:]:
        heading = section.splitlines()[0]
        if code := re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL):
            found[heading] = code
    return found


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """As after `. .venv/bin/activate`, with the environment that runs these tests in the place of .venv."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    return outside | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VENV": sys.prefix}


@pytest.fixture(scope="module")
def demo(environment: dict[str, str]) -> str:
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def served(demo: str, environment: dict[str, str]) -> Iterator[Any]:
    """The first block of "Serve and classify", running on the default ports as the README leaves them."""
    command = blocks("sh")["Serve and classify"][0].splitlines()[-1]
    server = subprocess.Popen(command.split(), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline()
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 0


def test_every_command_is_run_or_needs_what_is_not_here() -> None:
    assert set(blocks("sh")) == {"Two commands", "Serve and classify"} | NOT_RUN
    commands = [line.split("#")[0].strip() for line in blocks("sh")["Two commands"][0].splitlines()]
    assert commands == ["make demo", "make test"]  # the second runs this


def test_make_demo_prints_what_the_readme_shows(demo: str) -> None:
    shown = blocks("text")["Two commands"][0]
    assert demo.startswith("triton 2.")
    # Scores to two places and times differ between processors.
    for line in re.findall(r"(\w+)\.jpg +(\w+) ", shown):
        assert line in re.findall(r"(\w+)\.jpg +(\w+) ", demo)
    assert len(re.findall(r"\.jpg ", demo)) == 5
    assert len(re.findall(r"\d ms", demo)) == 5


def test_make_demo_starts_in_seconds_the_second_time(demo: str, environment: dict[str, str]) -> None:
    """Nothing is installed or built again."""
    plan = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert [line.split()[1] for line in plan.stdout.splitlines()] == ["server/demo.py"]


def test_serve_and_classify_does_what_the_readme_says(served: str, environment: dict[str, str], tmp_path: Path) -> None:
    assert re.fullmatch(r"Triton Inference Server [\d.]+ is ready\n", served)
    commands = [
        line for line in blocks("sh")["Serve and classify"][1].splitlines() if line.startswith("alexnet-client")
    ]
    assert len(commands) == 3
    for command in commands:
        command = command.replace("> predictions.jsonl", f"> {tmp_path / 'predictions.jsonl'}")
        done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 5


def test_python_example_prints_two_predictions(served: str, environment: dict[str, str]) -> None:
    (code,) = blocks("python")["Serve and classify"]
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["Faces", "gramophone"]


def test_links_lead_to_files_of_the_project() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []
