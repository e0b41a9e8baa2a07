"""The server image's entrypoint and health check, run for real on the tritonserver of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from alexnet_server.backends import prepare_backends, server_environment
from alexnet_server.discovery import find_tritonserver
from alexnet_server.ports import Ports, free_ports
from alexnet_server.readiness import get

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
ENTRYPOINT = ["sh", str(DOCKER / "entrypoint.sh")]
DEADLINE_S = 60
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Started:
    """What the entrypoint turned into, and the flags that it was given."""

    process: subprocess.Popen[str]
    ports: Ports
    flags: list[str]


@contextmanager
def running_entrypoint(repository: Path, backends: Path) -> Iterator[Started]:
    """The entrypoint on a repository, from the moment Triton says that it listens."""
    server = find_tritonserver()
    environment = server_environment(server)
    environment["PATH"] += os.pathsep + str(server.executable.parent)
    environment |= {"MODEL_REPOSITORY": str(repository), "TENSORRT_VERSION_COMPATIBLE": "true"}
    ports = free_ports(HOST)
    flags = [
        f"--backend-directory={prepare_backends(server, backends)}",
        f"--http-address={HOST}",
        f"--grpc-address={HOST}",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
    ]
    process = subprocess.Popen([*ENTRYPOINT, *flags], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_listens(process)
        yield Started(process, ports, flags)
    finally:
        process.terminate()  # it removes its shared memory
        process.communicate(timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def started(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with running_entrypoint(repository, tmp_path_factory.mktemp("backends")) as entrypoint:
        yield entrypoint


def wait_until_it_listens(process: subprocess.Popen[str]) -> None:
    """Read what Triton writes up to its last service; it starts them once every model is loaded."""
    assert process.stderr
    messages = []
    for line in process.stderr:
        messages.append(line)
        if "Started Metrics Service" in line:
            return
    pytest.fail(f"the entrypoint ended before Triton listened:\n{''.join(messages)}")


def health_check(http_port: int) -> subprocess.CompletedProcess[bytes]:
    """Run the command of the Dockerfile's HEALTHCHECK against another port than the container's."""
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    (words,) = [line.partition("CMD ")[2] for line in lines if line.startswith("    CMD ")]
    command = [word.replace(":8000/", f":{http_port}/") for word in json.loads(words)]
    return subprocess.run(command, capture_output=True, timeout=DEADLINE_S)


def test_entrypoint_becomes_tritonserver_with_every_flag(started: Started, repository: Path) -> None:
    assert psutil.Process(started.process.pid).cmdline() == [
        "tritonserver",
        f"--model-repository={repository}",
        "--disable-auto-complete-config",
        "--backend-config=tensorrt,version-compatible=true",
        *started.flags,
    ]


def test_classifier_is_ready_when_triton_listens(started: Started) -> None:
    assert get(f"{HOST}:{started.ports.http}", "/v2/models/classifier/ready") == {}


def test_health_check_succeeds_when_the_classifier_is_ready(started: Started) -> None:
    assert health_check(started.ports.http).returncode == 0


def test_sigterm_ends_the_server_and_its_models(repository: Path, tmp_path: Path) -> None:
    with running_entrypoint(repository, tmp_path) as started:
        family = psutil.Process(started.process.pid).children(recursive=True)
        assert len(family) >= 2  # an instance of preprocess and one of alexnet

        started.process.send_signal(signal.SIGTERM)
        started.process.communicate(timeout=DEADLINE_S)

        assert started.process.returncode == 0
        assert [member for member in family if member.is_running()] == []


def test_health_check_fails_when_nothing_listens() -> None:
    assert health_check(free_ports(HOST).http).returncode == 1


def run_entrypoint(repository: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint where its end is expected before tritonserver would start."""
    environment = {"PATH": os.environ["PATH"], "MODEL_REPOSITORY": str(repository), **variables}
    return subprocess.run(ENTRYPOINT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)


@pytest.mark.parametrize("left_over", ["", "alexnet", "alexnet/1", "alexnet/.part-7"], ids=str)
def test_entrypoint_refuses_a_repository_without_an_engine(tmp_path: Path, left_over: str) -> None:
    (tmp_path / left_over).mkdir(parents=True, exist_ok=True)

    finished = run_entrypoint(tmp_path)

    assert finished.returncode == 1
    assert finished.stderr == (
        f"alexnet-triton: nothing to serve in {tmp_path}\n"
        f"  expected: alexnet/<version>/model.plan or model.onnx, readable by user {os.getuid()}\n"
        "  next: docker compose -f docker/compose.yaml run --rm builder\n"
    )


def test_entrypoint_refuses_a_repository_that_is_not_there(tmp_path: Path) -> None:
    finished = run_entrypoint(tmp_path / "missing")

    assert finished.returncode == 1
    assert f"nothing to serve in {tmp_path / 'missing'}\n" in finished.stderr


def test_entrypoint_refuses_a_variable_that_it_does_not_understand(repository: Path) -> None:
    finished = run_entrypoint(repository, TENSORRT_VERSION_COMPATIBLE="yes")

    assert finished.returncode == 2
    assert finished.stderr == ("alexnet-triton: TENSORRT_VERSION_COMPATIBLE is 'yes', expected true or false\n")


@pytest.mark.parametrize(("size_mib", "hints"), [(64, True), (1024, False)], ids=["64 MiB", "1 GiB"])
def test_entrypoint_hints_at_shared_memory_when_there_is_little(
    repository: Path, tmp_path: Path, size_mib: int, hints: bool
) -> None:
    mount = f"mount -t tmpfs -o size={size_mib}m tmpfs /dev/shm"
    in_own_mounts = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*in_own_mounts, mount], capture_output=True).returncode:
        pytest.skip("a /dev/shm of another size needs a mount namespace, which is not allowed here")
    (tmp_path / "tritonserver").symlink_to("/bin/true")
    path = f"{tmp_path}:{os.environ['PATH']}"

    finished = subprocess.run(
        [*in_own_mounts, f'{mount} && exec "$@"', "sh", *ENTRYPOINT],
        env={"PATH": path, "MODEL_REPOSITORY": str(repository)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert finished.returncode == 0
    assert finished.stderr == (
        "alexnet-triton: only 64 MiB of shared memory, too little for large batches\n"
        "  next: docker run --shm-size=1g ...\n"
        if hints
        else ""
    )
