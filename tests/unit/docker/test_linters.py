"""Dockerfiles and shell scripts, read by hadolint and shellcheck; and what Dockerfiles copy is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "builder.Dockerfile"]
SCRIPTS = sorted(DOCKER.glob("*.sh"))


def findings(linter: str, path: Path) -> str:
    """Run a linter from this environment or from PATH; what it says, empty if it is content."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    executable = shutil.which(linter, path=folders)
    if executable is None:
        reason = f"{linter} is not installed: pip install --editable '.[test]'"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    finished = subprocess.run([executable, path], capture_output=True, text=True, timeout=60)
    return finished.stdout + finished.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing_in_dockerfile(dockerfile: Path) -> None:
    assert findings("hadolint", dockerfile) == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_script(script: Path) -> None:
    assert findings("shellcheck", script) == ""


def test_hadolint_reports_a_tag_that_moves(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM debian:latest\n")

    assert "DL3007" in findings("hadolint", dockerfile)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_runs_as_uid_1000_after_the_entrypoint_of_the_image(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    (entrypoint,) = [line for line in lines if line.startswith("ENTRYPOINT")]

    assert [line for line in lines if line.startswith("USER")] == ["USER 1000:1000"]
    assert entrypoint.startswith('ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", ')
    started = re.findall(r"/opt/alexnet-triton/([\w./-]+)", entrypoint)
    assert [(DOCKER / Path(name).name).is_file() for name in started] == [True]


def test_copied_files_exist_and_pass_dockerignore() -> None:
    admitted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        source
        for dockerfile in DOCKERFILES
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    ]

    assert sources == ["docker/requirements-server.txt", "docker/entrypoint.sh", "."]
    assert [source for source in [*sources, *admitted] if not (ROOT / source).exists()] == []
    assert [source for source in sources[:-1] if source.split("/")[0] not in admitted] == []
