"""Which tritonserver to start: a path or nothing in, a `TritonServer` that describes the one found out.

Looked for, in this order: the path given, $ALEXNET_TRITONSERVER, PATH, /opt/tritonserver (the container),
and the wheel nvidia-pytriton (the embedded server).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alexnet_server.errors import TritonNotFoundError

ENVIRONMENT_VARIABLE = "ALEXNET_TRITONSERVER"
CONTAINER_EXECUTABLE = Path("/opt/tritonserver/bin/tritonserver")


@dataclass(frozen=True)
class TritonServer:
    """A tritonserver on this machine.

    Attributes:
        executable: absolute path, links resolved.
        origin: how it was found, for messages.
    """

    executable: Path
    origin: str

    @property
    def root(self) -> Path:
        """The folder that holds bin/ and backends/."""
        return self.executable.parent.parent

    @property
    def embedded(self) -> bool:
        """Whether it is the wheel's: one stub for each Python version, and the Python backend only."""
        return (self.root / "python_backend_stubs").is_dir()

    @property
    def stub(self) -> Path:
        """The Python backend's helper process, for the Python that runs this program if there is a choice."""
        if self.embedded:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            return self.root / "python_backend_stubs" / version / "triton_python_backend_stub"
        return self.root / "backends" / "python" / "triton_python_backend_stub"

    @property
    def library_folder(self) -> Path | None:
        """Where the wheel keeps the libraries its executables are linked to; None for the container's."""
        return self.root.parent.parent / "nvidia_pytriton.libs" if self.embedded else None

    def __str__(self) -> str:
        return f"{self.executable} ({self.origin})"


def find_tritonserver(executable: Path | None = None) -> TritonServer:
    """Return the first tritonserver there is, in the order this module's docstring gives.

    Args:
        executable: the one to take; then no other place is looked at.

    Raises:
        TritonNotFoundError: none anywhere, or not where it was said to be.
    """
    if executable is not None:
        return _named_server(executable, "--tritonserver")
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return _named_server(Path(os.environ[ENVIRONMENT_VARIABLE]), f"${ENVIRONMENT_VARIABLE}")
    for candidate, origin in _usual_places():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return TritonServer(candidate.resolve(), origin)
    raise TritonNotFoundError(
        f"no tritonserver: not in ${ENVIRONMENT_VARIABLE}, on PATH, at {CONTAINER_EXECUTABLE} or in the "
        f"wheel nvidia-pytriton of {sys.executable}\n"
        f"  next: {sys.executable} -m pip install --editable '.[embedded]', in a checkout of this project"
    )


def _named_server(executable: Path, origin: str) -> TritonServer:
    if not (executable.is_file() and os.access(executable, os.X_OK)):
        raise TritonNotFoundError(f"{origin} names {executable}, which is not an executable file")
    return TritonServer(executable.resolve(), origin)


def _usual_places() -> Iterator[tuple[Path, str]]:
    on_path = shutil.which("tritonserver")
    if on_path:
        yield Path(on_path), "on PATH"
    yield CONTAINER_EXECUTABLE, "the container's"
    wheel = importlib.util.find_spec("pytriton")  # finds the package without importing it
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        yield (
            Path(folder) / "tritonserver" / "bin" / "tritonserver",
            "embedded, from the wheel nvidia-pytriton",
        )
