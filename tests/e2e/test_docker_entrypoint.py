"""The server image's entrypoint and health check, run for real on the tritonserver of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
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
    environment = {**own_python(), "MODEL_REPOSITORY": str(repository), **variables}
    return subprocess.run(ENTRYPOINT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)


def own_python() -> dict[str, str]:
    """What makes `python3` the Python of this test, with the packages that it sees."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}


def words_of_check(repository: Path) -> str:
    command = [sys.executable, "-m", "alexnet_server", "check", "--repository", str(repository)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert checked.returncode == 1
    return checked.stdout + checked.stderr


NOT_STARTED = (
    "alexnet-triton: not started, see above\n"
    "  next: on the host, docker compose -f docker/compose.yaml run --rm builder, where an engine has to be built;\n"
    "        ALEXNET_PREFLIGHT=off starts Triton all the same\n"
)


@pytest.mark.parametrize("left_over", ["", "alexnet", "alexnet/1", "alexnet/.part-7"], ids=str)
def test_entrypoint_refuses_a_repository_without_an_engine(tmp_path: Path, left_over: str) -> None:
    (tmp_path / left_over).mkdir(parents=True, exist_ok=True)

    finished = run_entrypoint(tmp_path)

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == words_of_check(tmp_path) + NOT_STARTED
    assert "  next: alexnet-build repository --weights demo" in finished.stderr


def test_entrypoint_refuses_a_repository_that_is_not_there(tmp_path: Path) -> None:
    finished = run_entrypoint(tmp_path / "missing")

    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: no model repository: {tmp_path / 'missing'} is not there\n")


@pytest.mark.parametrize(
    ("variable", "expected"), [("TENSORRT_VERSION_COMPATIBLE", "true or false"), ("ALEXNET_PREFLIGHT", "on or off")]
)
def test_entrypoint_refuses_a_variable_that_it_does_not_understand(
    repository: Path, variable: str, expected: str
) -> None:
    finished = run_entrypoint(repository, **{variable: "yes"})

    assert finished.returncode == 2
    assert finished.stderr == f"alexnet-triton: {variable} is 'yes', expected {expected}\n"


@pytest.fixture
def ends_at_once(tmp_path: Path) -> dict[str, str]:
    """Variables with which the entrypoint checks for this machine's server, and then becomes `true` in its place."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tritonserver").symlink_to(shutil.which("true") or "/bin/true")
    variables = own_python()
    path = f"{tmp_path / 'bin'}{os.pathsep}{variables['PATH']}"
    return variables | {"PATH": path, "ALEXNET_TRITONSERVER": str(find_tritonserver().executable)}


def test_entrypoint_starts_a_repository_unseen_where_the_preflight_is_off(
    tmp_path: Path, ends_at_once: dict[str, str]
) -> None:
    finished = run_entrypoint(tmp_path / "missing", **ends_at_once, ALEXNET_PREFLIGHT="off")

    assert finished.returncode == 0
    assert finished.stderr == (
        f"alexnet-triton: ALEXNET_PREFLIGHT=off, so nobody looked whether {tmp_path / 'missing'} can be served\n"
    )


@pytest.fixture
def version_compatible(repository: Path, tmp_path: Path) -> Path:
    """A repository whose engine is said to be a version-compatible plan for compute capability 8.6."""
    folder = tmp_path / "models"
    shutil.copytree(repository, folder, ignore=shutil.ignore_patterns("model.onnx"))
    plan = folder / "alexnet" / "1" / "model.plan"
    plan.write_bytes(b"a plan!")
    values = {"engine": "tensorrt", "builder_version": "11.3.0.99", "compute_capability": "8.6"}
    (plan.parent / "manifest.json").write_text(json.dumps(values | {"version_compatible": True}))
    config = folder / "alexnet" / "config.pbtxt"
    text = config.read_text().replace("onnxruntime", "tensorrt").replace("model.onnx", "model.plan")
    config.write_text(text.replace("KIND_CPU", "KIND_GPU"))
    return folder


@pytest.fixture
def with_tensorrt(tmp_path: Path, ends_at_once: dict[str, str]) -> dict[str, str]:
    """`ends_at_once` on what looks to the checks like a machine with TensorRT 11.4.1 and a GPU."""
    root = tmp_path / "tritonserver"
    for name in ("bin", "backends/python", "backends/tensorrt"):
        (root / name).mkdir(parents=True)
    executable = root / "bin" / "tritonserver"
    for path, text in {executable: "exit 1", tmp_path / "bin" / "nvidia-smi": "echo 0, GPU-0, a test, 8.6"}.items():
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return ends_at_once | {"ALEXNET_TRITONSERVER": str(executable), "TRT_VERSION": "11.4.1.2", "LD_LIBRARY_PATH": ""}


def test_variable_allows_version_compatible_plans_in_preflight_and_server(
    version_compatible: Path, with_tensorrt: dict[str, str]
) -> None:
    refused = run_entrypoint(version_compatible, **with_tensorrt)
    allowed = run_entrypoint(version_compatible, **with_tensorrt, TENSORRT_VERSION_COMPATIBLE="true")

    assert refused.returncode == 1
    assert "model.plan is version-compatible: it carries code that runs in the server" in refused.stderr
    assert "# in the container: TENSORRT_VERSION_COMPATIBLE=true" in refused.stderr
    assert allowed.returncode == 0
    assert "nothing is in the way of serving" in allowed.stderr


def test_entrypoint_refuses_a_plan_for_another_gpu(version_compatible: Path, with_tensorrt: dict[str, str]) -> None:
    (Path(with_tensorrt["PATH"].split(os.pathsep)[0]) / "nvidia-smi").write_text(
        "#!/bin/sh\necho 0, GPU-0, a test, 9.0\n"
    )

    finished = run_entrypoint(version_compatible, **with_tensorrt, TENSORRT_VERSION_COMPATIBLE="true")

    assert finished.returncode == 1
    assert "model.plan was built for compute capability 8.6, GPU 0 here (a test) has 9.0\n" in finished.stderr
    assert finished.stderr.endswith(NOT_STARTED)


@pytest.mark.parametrize(("size_mib", "noted"), [(64, True), (1024, False)], ids=["64 MiB", "1 GiB"])
def test_entrypoint_notes_it_when_there_is_little_shared_memory(
    repository: Path, ends_at_once: dict[str, str], size_mib: int, noted: bool
) -> None:
    mount = f"mount -t tmpfs -o size={size_mib}m tmpfs /dev/shm"
    in_own_mounts = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*in_own_mounts, mount], capture_output=True).returncode:
        pytest.skip("a /dev/shm of another size needs a mount namespace, which is not allowed here")

    finished = subprocess.run(
        [*in_own_mounts, f'{mount} && exec "$@"', "sh", *ENTRYPOINT],
        env={**ends_at_once, "MODEL_REPOSITORY": str(repository)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert finished.returncode == 0
    assert finished.stderr.startswith(
        "note: /dev/shm: only 64 MiB free, too little for large batches of large images\n"
        "  expected: 256 MiB, a batch of 64 photographs of 4 MB\n"
        "  next: docker run --shm-size=1g ..."
        if noted
        else "alexnet, classifier, preprocess: nothing is in the way of serving"
    )
