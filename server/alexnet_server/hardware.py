"""What a TensorRT engine has to fit: the GPUs that a server would use here, and the TensorRT that it would load.

In: the environment that the server gets. Out: `Gpus`, and a version. The checks ask when a model needs a GPU; what
cannot be found out is not guessed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from alexnet_server.discovery import TritonServer

NVIDIA_SMI_TIMEOUT_S = 10
_QUERY = ["--query-gpu=index,uuid,name,compute_cap", "--format=csv,noheader"]
_DEVICES = Path("/dev")
_LDCONFIG_PATH = "/sbin:/usr/sbin"  # where users do not look


@dataclass(frozen=True)
class Gpu:
    """One GPU: `index` as CUDA counts it, `compute_capability` e.g. "8.6"."""

    index: int
    name: str
    compute_capability: str


@dataclass(frozen=True)
class Gpus:
    """The GPUs that a program sees here.

    Attributes:
        devices: None where it could not be found out.
        reason: why there is none, or why it is not known.
        exact: False: `devices` are all GPUs of the machine, of which the program sees some.
        ordered: whether `index` is sure to be CUDA's.
    """

    devices: tuple[Gpu, ...] | None
    reason: str = ""
    exact: bool = True
    ordered: bool = True


def find_gpus(environment: Mapping[str, str]) -> Gpus:
    """Ask nvidia-smi which GPUs a program with this environment sees.

    No nvidia-smi, or one that fails, means no GPU. One that does not answer, or does not know compute capabilities
    (drivers before 470), and a GPU's device file without it, mean that it is not known.
    """
    nvidia_smi = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if nvidia_smi is None:
        # dxg is WSL's, nvmap that of NVIDIA's small computers.
        present = any(True for name in ("nvidia[0-9]*", "dxg", "nvmap") for _ in _DEVICES.glob(name))
        return Gpus(None if present else (), "nvidia-smi is not on PATH")
    try:
        answer = subprocess.run(
            [nvidia_smi, *_QUERY], env=dict(environment), capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(None, f"nvidia-smi does not answer: {error}")
    if answer.returncode != 0:
        said = " ".join((answer.stdout + answer.stderr).split()) or f"exit code {answer.returncode}"
        return Gpus(None if "not a valid field" in said else (), f"nvidia-smi: {said}")
    lines = [line.split(", ") for line in answer.stdout.splitlines() if line.strip()]
    if not all(len(fields) == 4 and re.fullmatch(r"\d+\.\d+", fields[3]) for fields in lines):
        return Gpus(None, f"nvidia-smi says {answer.stdout.strip()!r}")
    gpus = [(uuid, Gpu(int(index), name, capability)) for index, uuid, name, capability in lines]
    return _visible_gpus(gpus, environment)


def _visible_gpus(gpus: list[tuple[str, Gpu]], environment: Mapping[str, str]) -> Gpus:
    """Apply CUDA_VISIBLE_DEVICES, as the CUDA Programming Guide (environment variables) describes it."""
    everything = tuple(gpu for _, gpu in gpus)
    mixed = len({gpu.compute_capability for gpu in everything}) > 1
    # nvidia-smi counts by PCI bus; CUDA does so only if told, and else begins with the fastest.
    ordered = not mixed or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return Gpus(everything, "nvidia-smi lists none" if not everything else "", ordered=ordered)
    chosen: list[Gpu] = []
    for entry in visible.split(","):
        entry = entry.strip()
        if entry.startswith("MIG-"):
            return Gpus(everything, exact=not mixed, ordered=False)
        by_uuid = entry.startswith("GPU-")
        found = [gpu for uuid, gpu in gpus if (uuid.startswith(entry) if by_uuid else str(gpu.index) == entry)]
        if len(found) != 1 or found[0] in chosen:
            break  # an entry that names no GPU hides those after it
        chosen.append(found[0])
    by_index = "GPU-" not in visible
    if by_index and not ordered and 0 < len(chosen) < len(everything):
        return Gpus(everything, exact=False, ordered=False)
    numbered = tuple(Gpu(i, gpu.name, gpu.compute_capability) for i, gpu in enumerate(chosen))
    return Gpus(numbered, f"CUDA_VISIBLE_DEVICES is {visible!r}", ordered=ordered or not by_index)


def find_tensorrt(server: TritonServer, environment: Mapping[str, str]) -> str | None:
    """Return the version of the TensorRT that a server would load, e.g. "11.3.0"; None where it is not clear.

    Read from the file name of the library that its TensorRT backend is linked to, or else from TRT_VERSION, which
    NVIDIA's containers set.

    Args:
        server: the one that would load it.
        environment: what it is started with.
    """
    backend = server.root / "backends" / "tensorrt"
    if not backend.is_dir():
        return None
    soname = _linked_library(backend / "libtriton_tensorrt.so")
    for folder in _library_folders(server, environment) if soname else ():
        if (folder / str(soname)).exists():
            # A link to libnvinfer.so.11.3.0, as every package of TensorRT has it.
            name = (folder / str(soname)).resolve().name
            version = re.fullmatch(r"libnvinfer\.so\.(\d+\.\d+\.\d+(\.\d+)?)", name)
            if version:
                return version.group(1)
            break
    return numbers_text(environment.get("TRT_VERSION", ""))


def numbers_text(version: str) -> str | None:
    """Return the leading numbers of a version, "11.3.0.99" for "11.3.0.99+cuda13"; None where there are none."""
    match = re.match(r"\d+(\.\d+)+", version)
    return match.group() if match else None


def _linked_library(backend: Path) -> str | None:
    """The name of libnvinfer that the backend's own library asks the loader for, e.g. "libnvinfer.so.11"."""
    try:
        match = re.search(rb"libnvinfer\.so\.\d+(?=\0)", backend.read_bytes())
    except OSError:
        return None
    return match.group().decode() if match else None


def _library_folders(server: TritonServer, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where the loader looks, in its order, then where NVIDIA's packages put TensorRT."""
    for entry in environment.get("LD_LIBRARY_PATH", "").split(":"):
        if entry:
            yield Path(entry)
    yield server.root / "backends" / "tensorrt"
    yield server.root / "lib"
    yield from _cached_library_folders()
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib"):
        yield Path(folder)
    for folder in ("/usr/local/tensorrt/lib", "/opt/tensorrt/lib"):
        yield Path(folder)


def _cached_library_folders() -> Iterator[Path]:
    """The folders in which the loader's cache has a libnvinfer."""
    ldconfig = shutil.which("ldconfig", path=_LDCONFIG_PATH)
    if ldconfig is None:
        return
    try:
        listed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, timeout=NVIDIA_SMI_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return
    for path in re.findall(r"^\s*libnvinfer\.so\.\d+ .*=> (.*)$", listed.stdout, re.MULTILINE):
        yield Path(path).parent
