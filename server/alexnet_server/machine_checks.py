"""Checks of the machine: its tritonserver, the models' Python and shared memory suit the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from alexnet_server.backends import available_backends, server_environment
from alexnet_server.findings import Finding, Situation
from alexnet_server.process import SHARED_MEMORY
from alexnet_server.repository import ModelFolder, element_count

_PROBE_TIMEOUT_S = 60
# What an instance of a Python model takes before its first request.
_STUB_SHARED_MEMORY_BYTES = 1 << 20
_TYPE_BYTES = {
    "TYPE_UINT8": 1,
    "TYPE_INT8": 1,
    "TYPE_BOOL": 1,
    "TYPE_FP16": 2,
    "TYPE_FP32": 4,
    "TYPE_INT32": 4,
}


def check_backends(situation: Situation) -> Iterator[Finding]:
    """The server found has every backend that a model asks for."""
    available = available_backends(situation.server)
    for model in situation.readable_models:
        if not model.is_ensemble and model.config.backend not in available:
            yield Finding(
                f"model {model.name}",
                f'its config says backend: "{model.config.backend}", which {situation.server} does not have',
                f"one of {', '.join(sorted(available))}, or a server with that backend (the container)",
                situation.build_command(),
            )


def check_stub(situation: Situation) -> Iterator[Finding]:
    """The Python backend's helper process starts: it exists for this Python and finds its libraries."""
    server = situation.server
    if not situation.python_models or not server.embedded:
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
    probe = subprocess.run(
        [server.stub],
        env=server_environment(server),
        capture_output=True,
        text=True,
        timeout=_PROBE_TIMEOUT_S,
    )
    if probe.returncode == 127:
        yield Finding(
            f"Python backend of {server}",
            probe.stderr.strip(),
            expected,
            f"apt-get install libpython{server.stub.parent.name}  # or a Python built with --enable-shared",
        )


def check_python_packages(situation: Situation) -> Iterator[Finding]:
    """The Python that the stub embeds has what the models import, and a NumPy that the stub works with."""
    backends = {model.config.backend for model in situation.python_models}
    if not backends:
        return
    environment = server_environment(situation.server)
    python = shutil.which("python3", path=environment.get("PATH")) or "python3"
    requirements = {"numpy": "numpy<2", "PIL": "pillow"}
    if "onnxruntime" in backends:  # among the Python models only where this project's own backend runs them
        requirements["onnxruntime"] = "onnxruntime"
    for package, (version, problem) in _probe_packages(python, list(requirements), environment).items():
        requirement = requirements[package]
        if package == "numpy" and version and int(version.partition(".")[0]) >= 2:
            problem = f"NumPy {version}, with which a BYTES tensor ends the stub"
        if problem:
            command = f"{python} -m pip install '{requirement}'"
            yield Finding(f"Python of the models, {python}", problem, requirement, command)


def check_shared_memory(situation: Situation) -> Iterator[Finding]:
    """/dev/shm holds at least one full batch for every instance of the Python models."""
    needed = 0
    for model in situation.python_models:
        tensor_bytes = sum(
            (element_count(tensor) or 0) * _TYPE_BYTES.get(_type_name(model, tensor), 0)
            for tensor in (*model.config.input, *model.config.output)
        )
        batch = max(1, model.config.max_batch_size)
        needed += model.instance_count * (_STUB_SHARED_MEMORY_BYTES + batch * tensor_bytes)
    status = os.statvfs(SHARED_MEMORY)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        yield Finding(
            str(SHARED_MEMORY),
            f"{free >> 20} MiB free",
            f"at least {(needed >> 20) + 1} MiB for the Python models' batches",
            "docker run --shm-size=1g ...  # or, as root: mount -o remount,size=1g /dev/shm",
        )


def _type_name(model: ModelFolder, tensor: Any) -> str:
    number = tensor.data_type
    return str(model.config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[number].name)


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
    probe = subprocess.run(
        [python, "-c", _PROBE, *packages],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=_PROBE_TIMEOUT_S,
    )
    if probe.returncode != 0:
        problem = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
        return dict.fromkeys(packages, ("", f"{python} fails: {problem}"))
    return {package: (found[0], found[1]) for package, found in json.loads(probe.stdout.splitlines()[-1]).items()}
