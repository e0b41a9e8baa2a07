"""Where preprocessing runs: the config's DEVICE parameter in, a GPU or none and the reason out.

Called by model.py when the model loads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .cuda_device import CudaDevice, DeviceError

#: What DEVICE may say; the first is what a missing one means.
DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class DeviceChoice:
    """The outcome.

    Attributes:
        gpus: one GPU, opened so often as was asked for; none: images are preprocessed on the CPU.
        reason: one sentence for the log.
    """

    gpus: Sequence[CudaDevice]
    reason: str


def choose_device(wanted: str, open_gpu: Callable[[], CudaDevice], *, count: int = 1) -> DeviceChoice:
    """Open the GPU if it is wanted, or if it can be had and nothing else is wanted.

    Args:
        wanted: one of `DEVICES`; "auto" takes the GPU where there is one with JPEG engines and packages, else the CPU.
        open_gpu: opens it, or raises DeviceError.
        count: how often it is opened, once for each batch that is to be under way at the same time.

    Raises:
        DeviceError: "gpu", where that cannot be; the message is for the operator.
    """
    if wanted == "cpu":
        return DeviceChoice((), "on the CPU")
    try:
        gpus = [open_gpu() for _ in range(count)]
    except Exception as error:  # DeviceError, or whatever CUDA's libraries raise on a GPU that is full or odd
        if wanted == "gpu":
            raise DeviceError(f"parameter DEVICE is 'gpu', but {error}") from error
        return DeviceChoice((), f"on the CPU, because {error}")
    gpu = gpus[0]
    if wanted == "auto" and not gpu.jpeg_engines:
        return DeviceChoice((), f"on the CPU, because {gpu.name} has no JPEG engines, and its CUDA cores are slower")
    return DeviceChoice(gpus, f"on the GPU, {gpu.name}, {gpu.jpeg_engines or 'no'} JPEG engines")
