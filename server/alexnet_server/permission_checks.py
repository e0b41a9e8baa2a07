"""Checks of a repository's permissions: the server may read what it loads, and nobody else may change it."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from alexnet_server.findings import Finding, Situation

_NAMED = 3  # of the files that a finding is about


def check_readable(situation: Situation) -> Iterator[Finding]:
    """This user can read every file and list every folder that is loaded."""
    needed = [(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK) for path in _loaded_paths(situation)]
    denied = [path for path, mode in needed if not os.access(path, mode)]
    if denied:
        # Their owner needs no right but his own; somebody else's files have to be opened to others.
        who = "u" if denied[0].stat().st_uid == os.geteuid() else "a"
        yield _finding(situation, denied, f"cannot be read by {_user(os.geteuid())}", "read access", f"{who}+rX")


def check_not_world_writable(situation: Situation) -> Iterator[Finding]:
    """Not everybody can write what is loaded: a Python model, and a plan that carries code, run in the server."""
    writable = [path for path in _loaded_paths(situation) if _mode(path) & stat.S_IWOTH]
    if writable:
        yield _finding(
            situation,
            writable,
            "can be written by every user, who could thus run code in the server",
            "files and folders that only their owner and group can write",
            "o-w",
        )


def _loaded_paths(situation: Situation) -> Iterator[Path]:
    """Everything in the repository that a server would read, links followed, but nothing twice."""
    yield situation.repository
    for model in situation.models:
        unserved = (
            set()
            if model.problem
            else {str(number) for number in model.versions} - {str(number) for number in model.served_versions}
        )
        yield from _paths_below(model.path, unserved, set())


def _paths_below(path: Path, left_out: set[str], seen: set[str]) -> Iterator[Path]:
    """A file or folder and what is in it; hidden entries, which Triton ignores, are left out."""
    real = os.path.realpath(path)
    if real in seen or not os.path.lexists(path) or _is_broken_link(path):
        return
    seen.add(real)
    yield path
    if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):
        for name in sorted(os.listdir(path)):
            if not name.startswith(".") and name not in left_out:
                yield from _paths_below(path / name, set(), seen)


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not os.path.exists(path)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # a container's user need not have a name
        return f"uid {uid}"


def _finding(situation: Situation, paths: list[Path], problem: str, expected: str, mode: str) -> Finding:
    repository = situation.repository
    names = [str(path.relative_to(repository) if path != repository else path) for path in paths[:_NAMED]]
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    # chmod -R does not follow links, so what they lead to is named.
    inside = os.path.realpath(repository)
    real = [os.path.realpath(path) for path in paths]
    linked = [path for path in real if os.path.commonpath([inside, path]) != inside]
    targets = ([str(repository)] if len(linked) < len(real) else []) + linked[:_NAMED]
    owned = os.geteuid() in (0, paths[0].stat().st_uid)
    command = f"{'' if owned else 'sudo '}chmod -R {mode} {shlex.join(targets)}"
    return Finding(f"repository {repository}", f"{', '.join(names)}{more} {problem}", expected, command)
