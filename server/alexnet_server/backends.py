"""What a found tritonserver needs around it: the folder of its backends and its environment variables.

The container's server brings both. The embedded one keeps its parts apart, has a stub for every Python
version and no ONNX Runtime backend, so a private folder is filled for it, which `serving.py` removes when
the server has ended.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from alexnet_server.discovery import TritonServer


def prepare_backends(server: TritonServer, folder: Path) -> Path:
    """Return the backend directory to start `server` with.

    Args:
        server: the container's, whose own directory is returned, or the embedded one.
        folder: an empty folder of the caller's, filled for the embedded server.
    """
    if not server.embedded:
        return server.root / "backends"
    # Copied, not linked: the server refuses a backend library that a link leads out of the directory.
    shutil.copytree(
        server.root / "backends" / "python", folder / "python", ignore=shutil.ignore_patterns("__pycache__")
    )
    stub = shutil.copy2(server.stub, folder / "python")
    Path(stub).chmod(0o755)
    for backend in _python_based_backends():
        shutil.copytree(backend, folder / backend.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def available_backends(server: TritonServer) -> set[str]:
    """Return the names of the backends that models on `server` can ask for."""
    folder = server.root / "backends"
    own = {backend.name for backend in folder.iterdir() if backend.is_dir()} if folder.is_dir() else set()
    return own | {backend.name for backend in _python_based_backends()} if server.embedded else own


def server_environment(server: TritonServer) -> dict[str, str]:
    """Return the environment to start `server` in: this process's, with what the wheel's stub needs."""
    environment = dict(os.environ)
    if not server.embedded:
        return environment
    # The stub embeds a Python and takes its site-packages from the first python3 on PATH. That one must be
    # the Python running here, and the library it loads must be the same build, not the distribution's of
    # the same version.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment.pop("PYTHONHOME", None)
    libraries = [
        sysconfig.get_config_var("LIBDIR"),
        Path(sys.base_prefix) / "lib",  # for Pythons that were moved after they were built
        server.library_folder,
        environment.get("LD_LIBRARY_PATH"),
    ]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(str(entry) for entry in libraries if entry)
    return environment


def _python_based_backends() -> list[Path]:
    """Return the folders of this project's own backends, each with a model.py."""
    # The wheel carries backends/ inside the package, the repository next to it.
    package = Path(__file__).parent
    folder = next(folder for folder in (package / "backends", package.parent / "backends") if folder.is_dir())
    return sorted(backend for backend in folder.iterdir() if (backend / "model.py").is_file())
