"""What the figures were measured on: cores, processor, memory, versions and the date."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("nvidia-pytriton", "onnxruntime", "numpy", "pillow", "tritonclient", "torch", "torchvision")


@dataclass(frozen=True)
class Machine:
    """A machine and the software on it."""

    date: str
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    packages: dict[str, str]


def this_machine() -> Machine:
    """Describe the machine that this runs on."""
    return Machine(
        date=date.today().isoformat(),
        processor=processor_name(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={package: version(package) for package in PACKAGES},
    )


def processor_name(cpuinfo: str) -> str:
    """Return the first processor's name in the text of /proc/cpuinfo, with its family and model."""
    fields = {}
    for line in cpuinfo.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    name = fields.get("model name", "unknown processor")
    if "cpu family" not in fields:
        return name
    return f"{name} (family {fields['cpu family']}, model {fields.get('model', '?')})"
