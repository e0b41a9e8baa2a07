"""Checks of the machine: its tritonserver, the models' Python and shared memory suit the repository."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator

from alexnet_server.backends import available_backends, server_environment
from alexnet_server.findings import Finding, Situation
from alexnet_server.repository import element_count, type_name
from alexnet_server.shared_memory import SHARED_MEMORY, free_bytes

_PROBE_TIMEOUT_S = 60
# What an instance of a Python model takes before its first request.
_STUB_SHARED_MEMORY_BYTES = 1 << 20
# A batch of 64 photographs of 4 MB, which travel to the preprocessing model as they are.
_COMFORTABLE_SHARED_MEMORY_BYTES = 256 << 20
# More processes only take turns; `alexnet-build tune` may choose twice as many, for what they wait in between.
_INSTANCES_A_CORE = 2
_MORE_SHARED_MEMORY = "docker run --shm-size=1g ...  # or, as root: mount -o remount,size=1g /dev/shm"
_TYPE_BYTES = {
    "TYPE_BOOL": 1,
    "TYPE_UINT8": 1,
    "TYPE_INT8": 1,
    "TYPE_UINT16": 2,
    "TYPE_INT16": 2,
    "TYPE_FP16": 2,
    "TYPE_BF16": 2,
    "TYPE_UINT32": 4,
    "TYPE_INT32": 4,
    "TYPE_FP32": 4,
    "TYPE_UINT64": 8,
    "TYPE_INT64": 8,
    "TYPE_FP64": 8,
}


def check_backends(situation: Situation) -> Iterator[Finding]:
    """The server found has every backend that a model asks for."""
    if situation.server is None:
        return
    available = available_backends(situation.server)
    for model in situation.readable_models:
        if not model.is_ensemble and model.backend not in available:
            yield Finding(
                f"model {model.name}",
                f'its config says backend: "{model.backend}", which {situation.server} does not have',
                f"one of {', '.join(sorted(available))}, or a server with that backend (the container)",
                situation.build_command("onnxruntime"),
            )


def check_stub(situation: Situation) -> Iterator[Finding]:
    """The Python backend's helper process starts: it exists for this Python and finds its libraries."""
    server = situation.server
    if server is None or not situation.python_models or not server.embedded:
        return
    expected = "a stub that finds libpython and the wheel's libraries"
    if not server.stub.is_file():
        versions = sorted(folder.name for folder in server.stub.parent.parent.iterdir())
        yield Finding(
            f"Python backend of {server}",
            f"no stub for Python {server.stub.parent.name}",
            f"one of the Pythons {', '.join(versions)}",
            "python3.11 -m venv .venv && .venv/bin/pip install --editable '.[embedded]'",
        )
        return
    # Without arguments it complains and ends with 1; the dynamic loader, if it misses a library, ends it
    # with 127.
    probe = _run([str(server.stub)], server_environment(server))
    if probe.returncode == 127:
        yield Finding(
            f"Python backend of {server}",
            probe.stderr.strip(),
            expected,
            f"apt-get install libpython{server.stub.parent.name}  # or a Python built with --enable-shared",
        )


def check_python_packages(situation: Situation) -> Iterator[Finding]:
    """The Python that the stub embeds has what the models import, and a NumPy that the stub works with."""
    backends = {model.backend for model in situation.python_models}
    if situation.server is None or not backends:
        return
    environment = server_environment(situation.server)
    python = shutil.which("python3", path=environment.get("PATH")) or "python3"
    requirements = {"numpy": "numpy<2", "PIL": "pillow"}
    if "onnxruntime" in backends:  # among the Python models only where this project's own backend runs them
        requirements["onnxruntime"] = "onnxruntime"
        if any("openvino" in model.cpu_accelerators for model in situation.readable_models):
            requirements["openvino"] = "openvino"
    # With "auto", a model that lacks it decodes on the CPU and says so.
    if any(model.parameter("DEVICE") == "gpu" for model in situation.python_models):
        requirements["cupy"] = "cupy-cuda13x<14"
    for package, (version, problem) in _probe_packages(python, list(requirements), environment).items():
        requirement = requirements[package]
        major = version.partition(".")[0]
        if package == "numpy" and major.isdecimal() and int(major) >= 2:
            problem = f"NumPy {version}, with which a BYTES tensor ends the stub"
        if problem:
            command = f"{python} -m pip install '{requirement}'"
            yield Finding(f"Python of the models, {python}", problem, requirement, command)


def check_shared_memory(situation: Situation) -> Iterator[Finding]:
    """/dev/shm holds at least one full batch for every instance of the Python models."""
    needed = 0
    for model in situation.python_models:
        tensor_bytes = sum(
            (element_count(tensor) or 0) * _TYPE_BYTES.get(type_name(tensor), 0)
            for tensor in (*model.config.input, *model.config.output)
        )
        batch = max(1, model.config.max_batch_size)
        needed += model.instance_count * (_STUB_SHARED_MEMORY_BYTES + batch * tensor_bytes)
    free = free_bytes()
    if needed and free < needed:
        yield Finding(
            str(SHARED_MEMORY),
            f"{free >> 20} MiB free",
            f"at least {(needed >> 20) + 1} MiB for the Python models' batches",
            _MORE_SHARED_MEMORY,
        )


def note_little_shared_memory(situation: Situation) -> Iterator[Finding]:
    """Say that large batches of large photographs may not fit, which no config tells."""
    if situation.server is None:
        return
    free = free_bytes()
    takes_images = any(type_name(tensor) == "TYPE_STRING" for m in situation.python_models for tensor in m.config.input)
    if takes_images and free < _COMFORTABLE_SHARED_MEMORY_BYTES:
        yield Finding(
            str(SHARED_MEMORY),
            f"only {free >> 20} MiB free, too little for large batches of large images",
            f"{_COMFORTABLE_SHARED_MEMORY_BYTES >> 20} MiB, a batch of 64 photographs of 4 MB",
            _MORE_SHARED_MEMORY,
        )


def note_many_instances(situation: Situation) -> Iterator[Finding]:
    """Say that a repository was made for a machine of more cores; it works here, but slower than it could."""
    cores = len(os.sched_getaffinity(0))
    for model in situation.python_models if situation.server else ():
        if model.instance_count > _INSTANCES_A_CORE * cores:
            yield Finding(
                f"model {model.name}",
                f"{model.instance_count} processes for {cores} core{'s' * (cores != 1)}",
                f"at most {_INSTANCES_A_CORE * cores}: these were chosen for a machine of more cores",
                shlex.join(["alexnet-build", "tune", "--repository", str(situation.repository)]),
            )


_PROBE = """
import importlib, json, sys
found = {}
for package in sys.argv[1:]:
    try:
        found[package] = (importlib.import_module(package).__version__, "")
    except Exception as error:
        found[package] = ("", f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""


def _probe_packages(python: str, packages: list[str], environment: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Import packages in another Python; return each one's version, and what went wrong."""
    # From / and without PYTHONPATH, so that what is imported is what the stub would import.
    environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    probe = _run([python, "-c", _PROBE, *packages], environment)
    try:
        found = json.loads(probe.stdout.splitlines()[-1])
        return {package: (found[package][0], found[package][1]) for package in packages}
    except (IndexError, KeyError, TypeError, ValueError):
        problem = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
        return dict.fromkeys(packages, ("", f"{python} fails: {problem}"))


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that does not start, or does not end, has failed."""
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))
