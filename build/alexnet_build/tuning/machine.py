"""What settings were measured on: cores, processor, GPUs. Goes into tuning.json, and is compared with it later."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NVIDIA_SMI_TIMEOUT_S = 20


@dataclass(frozen=True)
class Machine:
    """A server's machine.

    Attributes:
        cores: That the server may use.
        processor: Its name; empty if another machine's server was tuned.
        gpus: Their names; empty without any.
    """

    cores: int
    processor: str
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.cores} core{'s' * (self.cores != 1)}"]
        if self.processor:
            parts[0] += f" of {self.processor}"
        return ", ".join([*parts, *self.gpus])


def this_machine() -> Machine:
    """Describe the machine that this runs on."""
    return Machine(len(os.sched_getaffinity(0)), _processor(), _gpus())


def _processor() -> str:
    """The first processor's name in /proc/cpuinfo; many virtual machines say no more than its maker."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return "an unknown processor"
    fields = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    family = f" (family {fields['cpu family']}, model {fields.get('model', '?')})" if "cpu family" in fields else ""
    return fields.get("model name", "an unknown processor") + family


def _gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ()
    return tuple(line.strip() for line in shown.stdout.splitlines() if line.strip()) if not shown.returncode else ()
