"""Repositories that the server may not read, or that anybody may write."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import pytest
from alexnet_server.errors import ServerError
from alexnet_server.findings import Finding, Target
from alexnet_server.repository import read_repository

Checker = Callable[..., tuple[Finding, ...]]
Asker = Callable[[Callable[[], tuple[Finding, ...]]], list[Finding]]

NOBODY = 65534


@pytest.fixture
def shared(sound: Path) -> Iterator[Path]:
    """The sound repository where users other than the test's can reach it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(sound, Path(folder) / "models")
        yield Path(folder) / "models"
        # Whatever was locked in a test, its owner has to be able to remove.
        for path in [Path(folder) / "models", *(Path(folder) / "models").rglob("*")]:
            path.chmod(0o755)


@pytest.fixture
def as_user() -> Asker:
    """Ask for findings as a user whom permissions bind: as root they bind nobody, so then as uid 65534."""

    def ask(findings: Callable[[], tuple[Finding, ...]]) -> list[Finding]:
        if os.geteuid() != 0:
            return list(findings())
        findings()  # imports what is imported late, which that user may not be allowed to read
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                answer = [astuple(finding) for finding in findings()]
            except BaseException as error:
                answer = [(type(error).__name__, str(error), "", "")]
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answered:
            answer = json.loads(answered.read())
        os.waitpid(child, 0)
        return [Finding(*fields) for fields in answer]

    return ask


@pytest.fixture
def other_user(as_user: Asker) -> str:
    """How findings name the user that `as_user` asks as."""
    import pwd

    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"


def chmod_command(repository: Path) -> str:
    """What opens a repository of this test's user to the user that `as_user` asks as."""
    return f"{'sudo chmod -R a' if os.geteuid() == 0 else 'chmod -R u'}+rX {repository}"


@pytest.mark.parametrize(
    ("locked", "named"),
    [
        (["alexnet/1/model.onnx"], "alexnet/1/model.onnx"),
        (["alexnet/1"], "alexnet/1"),
        (["alexnet/labels.txt", "preprocess/1/model.py"], "alexnet/labels.txt, preprocess/1/model.py"),
        (["preprocess"], "preprocess"),
        (["alexnet/config.pbtxt"], "alexnet/config.pbtxt"),
        (
            ["alexnet/1/model.onnx", "alexnet/labels.txt", "classifier/config.pbtxt", "preprocess/config.pbtxt"],
            "alexnet/1/model.onnx, alexnet/labels.txt, classifier/config.pbtxt and 1 more",
        ),
    ],
)
def test_files_that_the_server_may_not_read_are_found(
    shared: Path, findings_of: Checker, as_user: Asker, other_user: str, locked: list[str], named: str
) -> None:
    for name in locked:
        (shared / name).chmod(0)

    findings = as_user(lambda: findings_of(shared, target=Target(("8.6",))))

    assert findings[0].subject == f"repository {shared}"
    assert findings[0].found == f"{named} cannot be read by {other_user}"
    assert findings[0].command == chmod_command(shared)
    # A step whose config cannot be read is there all the same.
    assert [finding.subject for finding in findings[1:]] == []


def test_folder_that_may_be_listed_and_not_entered_is_found(
    shared: Path, findings_of: Checker, as_user: Asker, other_user: str
) -> None:
    (shared / "alexnet" / "1").chmod(0o444)

    (finding,) = as_user(lambda: findings_of(shared, target=Target(("8.6",))))

    assert finding.found == f"alexnet/1 cannot be read by {other_user}"


def test_repository_that_cannot_be_listed_is_an_error(shared: Path, findings_of: Checker, as_user: Asker) -> None:
    if os.geteuid() == 0:
        as_user(lambda: findings_of(shared, target=Target(("8.6",))))
    shared.chmod(0)

    def read() -> tuple[Finding, ...]:
        try:
            read_repository(shared)
        except ServerError as error:
            return (Finding("refused", str(error), "", ""),)
        return ()

    (refused,) = as_user(read)

    assert refused.found == (
        f"the model repository {shared} cannot be read: Permission denied\n"
        f"  next: ls -ld {shared}, for who may; `id` for who asked"
    )


def test_older_version_that_is_not_served_need_not_be_readable(
    shared: Path, findings_of: Checker, as_user: Asker
) -> None:
    shutil.copytree(shared / "alexnet" / "1", shared / "alexnet" / "2")
    (shared / "alexnet" / "1").chmod(0)

    assert as_user(lambda: findings_of(shared, target=Target(("8.6",)))) == []


@pytest.mark.parametrize(
    ("opened", "named"),
    [
        (["preprocess/1/model.py"], "preprocess/1/model.py"),
        (["alexnet/1"], "alexnet/1"),
        (["."], "{repository}"),
        (
            ["alexnet", "alexnet/1", "classifier", "preprocess"],
            "alexnet, alexnet/1, classifier and 1 more",
        ),
    ],
)
def test_files_that_everybody_may_write_are_found(
    sound: Path, file_findings: Checker, opened: list[str], named: str
) -> None:
    for name in opened:
        (sound / name).chmod(0o777)

    (finding,) = file_findings(sound)

    assert finding.subject == f"repository {sound}"
    assert finding.found == (
        f"{named.format(repository=sound)} can be written by every user, who could thus run code in the server"
    )
    assert finding.command == f"chmod -R o-w {sound}"


def test_hidden_files_and_broken_links_are_not_looked_at(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / ".part-7").mkdir()
    (sound / "alexnet" / ".part-7").chmod(0o777)
    (sound / "alexnet" / "1" / "notes").symlink_to("/nowhere")

    assert file_findings(sound) == ()


def test_what_links_lead_to_is_looked_at(sound: Path, tmp_path: Path, file_findings: Checker) -> None:
    engines = tmp_path / "engines"
    engines.mkdir()
    (sound / "alexnet" / "1" / "model.onnx").rename(engines / "model.onnx")
    (sound / "alexnet" / "1" / "model.onnx").symlink_to(engines / "model.onnx")
    assert file_findings(sound) == ()

    (engines / "model.onnx").chmod(0o666)
    (finding,) = file_findings(sound)

    assert finding.found.startswith("alexnet/1/model.onnx can be written by every user")
    assert finding.command == f"chmod -R o-w {engines / 'model.onnx'}"


def test_links_that_lead_round_in_a_circle_end(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet" / "again").symlink_to(sound / "alexnet")
    (sound / "alexnet" / "self").symlink_to("self")

    assert file_findings(sound) == ()
