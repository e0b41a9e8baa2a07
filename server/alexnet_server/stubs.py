"""Which of a server's Python processes have died: read from /proc, because Triton does not say.

Each instance of a Python model runs in a process of its own, the stub. When one crashes or is killed,
Triton keeps answering 200 for the server's health and for the model's readiness, while requests that reach
the instance fail. Yet Triton only collects a stub's exit status when it unloads the model, so a stub that
ended on its own stays behind as a zombie, and a zombie among the server's children is a lost instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_INSTANCE_ARGUMENT = 8  # the stub's arguments: model file, shared memory, ..., instance name, backend


@dataclass(frozen=True)
class Child:
    """One child process: `instance` is the model's name with counters, empty once the process has ended."""

    pid: int
    dead: bool
    instance: str


class StubWatch:
    """Remembers the stubs of one server, to name those that die."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._instances: dict[int, str] = {}
        self._dead_before: set[int] = set()

    def lost_instances(self) -> list[str]:
        """Return the instances whose process died, once two calls in a row have seen it dead.

        Two, because a model that is unloaded properly also leaves a zombie for the moment until it is
        collected.
        """
        children = read_children(self._server_pid)
        self._instances |= {child.pid: child.instance for child in children if child.instance}
        dead = {child.pid for child in children if child.dead and child.pid in self._instances}
        lost, self._dead_before = dead & self._dead_before, dead
        return sorted(self._instances[pid] for pid in lost)


def read_children(parent_pid: int) -> list[Child]:
    """Return the child processes of `parent_pid`."""
    children = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            # pid (name) state parent ...; the name may hold spaces and brackets, so read on from its last
            # bracket
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) != parent_pid:
                continue
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        is_stub = arguments[0].endswith("triton_python_backend_stub") and len(arguments) > _INSTANCE_ARGUMENT
        children.append(Child(int(folder.name), state in "ZX", arguments[_INSTANCE_ARGUMENT] if is_stub else ""))
    return children
