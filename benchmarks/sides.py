"""Who is measured: this project's ensemble, NVIDIA's example, and what people would serve the network with instead.

In: the name of a side. Out: a server that is ready, and how to reach it. Called by serving.py.

Each of peers/ runs in processes of its own, with the settings that did best in ``serving.py --sweep``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from alexnet_server import running_server
from usage import processes_of

PEERS = Path(__file__).parent / "peers"
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 4


class PeerError(RuntimeError):
    """A peer's server did not start."""


@dataclass(frozen=True)
class Side:
    """One bar of the picture.

    Attributes:
        name: what the tables call it, without the precision.
        kind: "ours", "ours-onnxruntime", "example", or the name of a file of peers/ up to "_".
        precision: "fp32" or "int8".
        settings: what is passed on to the peer.
    """

    name: str
    kind: str
    precision: str
    settings: Mapping[str, str | int] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """Its name on the command line and in the files: "litserve-fp32"."""
        return f"{self.kind}-{self.precision}"


@dataclass(frozen=True)
class Endpoint:
    """A server that is ready.

    Attributes:
        url: grpc://HOST:PORT for Triton's protocol, http:// for a body of bytes.
        pid: its process.
        frozen: it is stopped between its turns: LitServe's workers poll their queue, which takes a fifth of a core
            from whoever has the turn.
    """

    url: str
    pid: int
    frozen: bool = False

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let the server run for as long as the context lasts."""
        if self.frozen:
            for process in reversed(processes_of(self.pid)):
                process.resume()
        try:
            yield
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Stop a server that would not keep still; the parent first, so that it does not miss its workers."""
        for process in processes_of(self.pid) if self.frozen else []:
            process.suspend()


#: The settings that did best on two cores; the alternatives are what ``--sweep`` compares them with.
BEST: dict[str, dict[str, str | int]] = {
    "litserve": {"workers": 2, "threads": 1, "max-batch": 16},
    "fastapi": {"workers": 2, "threads": 1},
    "bentoml": {"workers": 2, "threads": 1, "max-batch": 16},
    "pytriton": {"instances": 2, "threads": 1, "max-batch": 16},
}
ALTERNATIVES: dict[str, list[dict[str, str | int]]] = {
    "litserve": [
        {"workers": 1, "threads": 2, "max-batch": 16},
        {"workers": 2, "threads": 1, "max-batch": 16},
        {"workers": 2, "threads": 2, "max-batch": 8},
        {"workers": 2, "threads": 2, "max-batch": 32},
    ],
    "fastapi": [
        {"workers": 1, "threads": 2},
        {"workers": 2, "threads": 1},
        {"workers": 2, "threads": 1, "inline": 1},
    ],
    "bentoml": [
        {"workers": 1, "threads": 2, "max-batch": 32},
        {"workers": 2, "threads": 1, "max-batch": 16},
        {"workers": 2, "threads": 2, "max-batch": 32},
    ],
    "pytriton": [
        {"instances": 1, "threads": 2, "max-batch": 32},
        {"instances": 2, "threads": 1, "max-batch": 16},
        {"instances": 2, "threads": 2, "max-batch": 16},
    ],
}
PEER_NAMES = {"litserve": "LitServe", "fastapi": "FastAPI", "bentoml": "BentoML", "pytriton": "PyTriton"}


def engine_of(key: str) -> str:
    """What runs the network of a side: ours takes OpenVINO, the others are documented with ONNX Runtime."""
    return "openvino" if key in ("ours-fp32", "ours-int8") else "onnxruntime"


def all_sides() -> list[Side]:
    """Every side, in the order of the tables."""
    sides = [Side("this project", "ours", precision) for precision in ("fp32", "int8")]
    sides += [Side("this project on ONNX Runtime", "ours-onnxruntime", precision) for precision in ("fp32", "int8")]
    sides.append(Side("NVIDIA's example", "example", "fp32"))
    for kind, name in PEER_NAMES.items():
        sides += [Side(name, kind, precision, BEST[kind]) for precision in ("fp32", "int8")]
    return sides


@contextlib.contextmanager
def served(side: Side, repository: Path, peers_python: Path, log: Path) -> Iterator[Endpoint]:
    """Start a side's server, and end it with all it started.

    Args:
        side: who.
        repository: a model repository, whose network the peers get, too; for "example" its own.
        peers_python: the interpreter of the environment that the peers are installed in.
        log: a file for what the server writes.

    Raises:
        PeerError: it did not answer in time; quotes the end of its log.
    """
    if side.kind in ("ours", "ours-onnxruntime", "example"):
        with running_server(repository, log=log) as server:
            yield Endpoint(f"grpc://{server.grpc_url}", server.pid)
        return
    network = repository / "alexnet" / "1" / "model.onnx"
    port, second = free_port(), free_port()
    command, path = peer_command(side, peers_python, port, second)
    environment = os.environ | peer_environment(side, network, peers_python)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=PEERS, stdout=output, stderr=output, start_new_session=True
        )
    started = [psutil.Process(process.pid)]
    try:
        wait_until_ready(process, f"http://127.0.0.1:{second if side.kind == 'pytriton' else port}{path}", log)
        started = processes_of(process.pid)
        protocol = "grpc" if side.kind == "pytriton" else "http"
        endpoint = Endpoint(f"{protocol}://127.0.0.1:{port}{path}", process.pid, frozen=protocol == "http")
        endpoint.freeze()
        yield endpoint
    finally:
        stop(process, started)


def peer_command(side: Side, python: Path, port: int, second_port: int) -> tuple[list[str], str]:
    """The command line that starts a peer, and the path of the URL that it answers at."""
    settings = dict(side.settings)
    folder = python.parent
    if side.kind == "fastapi":
        command = [str(folder / "uvicorn"), "fastapi_server:app", f"--port={port}", f"--workers={settings['workers']}"]
        return [*command, "--log-level=warning"], "/classify"
    if side.kind == "bentoml":
        command = [str(folder / "bentoml"), "serve", "bentoml_service:Front", "--working-dir=.", f"--port={port}"]
        return [*command, "--host=127.0.0.1", "-q"], "/classify"
    if side.kind == "litserve":
        options = [f"--{name}={settings[name]}" for name in ("workers", "max-batch")]
        return [str(python), "litserve_server.py", f"--port={port}", *options], "/predict"
    options = [f"--{name}={settings[name]}" for name in ("instances", "max-batch")]
    return [sys.executable, "pytriton_server.py", f"--grpc-port={port}", f"--http-port={second_port}", *options], ""


def peer_environment(side: Side, network: Path, python: Path) -> dict[str, str]:
    """What a peer reads from its environment; PyTriton is not in the peers' environment, as ours needs it, too."""
    names = {
        "threads": "PEER_THREADS",
        "inline": "PEER_INLINE",
        "max-batch": "PEER_MAX_BATCH",
        "workers": "PEER_WORKERS",
    }
    environment = {names[name]: str(value) for name, value in side.settings.items() if name in names}
    if side.kind == "pytriton":
        # Triton's Python backend must load the interpreter's own libpython, not the distribution's of the same name.
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        environment["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    else:
        environment["PATH"] = f"{python.parent}:{os.environ.get('PATH', '')}"
        environment["PYTHONPATH"] = str(PEERS)
    return {**environment, "PEER_NETWORK": str(network.absolute()), "BENTOML_DO_NOT_TRACK": "True"}


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Ask until the server answers something: PyTriton that its model is ready, the others that GET is not allowed."""
    ready = url if url.count("/") > 2 else f"{url}/v2/models/classifier/ready"
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            with urllib.request.urlopen(ready, timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code == 405:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise PeerError(f"no answer from {url}; its log ends with:\n{log.read_text(errors='replace')[-3000:]}")


def stop(process: subprocess.Popen[bytes], started: list[psutil.Process]) -> None:
    """Ask the server to end, and end what is left of it."""
    for frozen in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            frozen.resume()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    _, alive = psutil.wait_procs(started, timeout=2)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def peers_missing(python: Path) -> bool:
    """Whether the peers' environment lacks one of their commands."""
    return any(shutil.which(command, path=str(python.parent)) is None for command in ("uvicorn", "bentoml", "litserve"))
