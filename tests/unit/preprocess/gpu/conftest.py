"""The GPU path's modules, and a device without a GPU: Pillow decodes, crop_resize.cu is compiled as C++."""

from __future__ import annotations

import ctypes
import importlib
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

MODEL = Path(__file__).parents[4] / "model_repository" / "preprocess" / "1"
# The model's modules import each other as a package's; Triton gives that package a name of its own.
PACKAGE = "preprocess_model_under_test"

# What CUDA C has and C++ has not. One thread does every block, and blocks are done one after the other, so that
# shared memory is ordinary memory and nobody has to be waited for.
HOST_SOURCE = """
#include <cstddef>
struct Index { int x, y, z; };
static Index blockIdx, blockDim = {1, 1, 1}, threadIdx = {0, 0, 0};
#define __device__
#define __global__
#define __shared__
static void __syncthreads() {}
#include "crop_resize.cu"
int tile_weights[(TILE_WIDTH + TILE_HEIGHT) * 256];
extern "C" size_t crop_bytes() { return sizeof(Crop); }
extern "C" void launch(const Crop* crops, int count, unsigned char* out, int crop_side, int max_taps) {
    for (blockIdx.z = 0; blockIdx.z < count; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y * TILE_HEIGHT < crop_side; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x * TILE_WIDTH < crop_side; ++blockIdx.x)
                crop_resize(crops, out, crop_side, max_taps);
}
"""


def model_module(name: str) -> ModuleType:
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(MODEL)]  # type: ignore[attr-defined]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture(scope="session")
def model() -> Callable[[str], ModuleType]:
    """A module of the preprocess model, by its name."""
    return model_module


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """crop_resize.cu, compiled for the CPU."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++), with which the kernel is run on a CPU")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "host.cpp").write_text(HOST_SOURCE)
    command = [compiler, "-O2", "-ffp-contract=off", "-shared", "-fPIC", f"-I{MODEL}", "-o", "kernel.so", "host.cpp"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return ctypes.CDLL(str(folder / "kernel.so"))


class HostDevice:
    """What the GPU path asks of a GPU, done by the CPU; `Device` in gpu_preprocessing.py.

    Attributes:
        calls: what was asked for, in order.
        refuse: JPEGs that this decoder refuses.
        fail: JPEGs that it fails for, and then for all that were to be decoded with them.
    """

    def __init__(self, kernel: ctypes.CDLL, crop_size: int = 224) -> None:
        self._kernel = kernel
        self._crop_size = crop_size
        self.calls: list[str] = []
        self.refuse: set[bytes] = set()
        self.fail: set[bytes] = set()
        self._decoded: list[np.ndarray] = []

    def empty_pixels(self, count: int) -> np.ndarray:
        return np.full((count, self._crop_size, self._crop_size, 3), 99, np.uint8)

    def decode(self, jpegs: Sequence[bytes]) -> list[Any]:
        self.calls.append(f"decode {len(jpegs)}")
        if self.fail.intersection(jpegs):
            raise RuntimeError("nvjpegDecodeBatched answered status 3")
        self._decoded.clear()
        return [None if jpeg in self.refuse else self._decode(jpeg) for jpeg in jpegs]

    def _decode(self, jpeg: bytes) -> Any:
        decoded = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        # The decoder's lines are further apart than they are long.
        height, width, _ = decoded.shape
        padded = np.full((height, 3 * width + 37), 255, np.uint8)
        padded[:, : 3 * width] = decoded.reshape(height, -1)
        address, pitch_bytes = padded.ctypes.data, padded.strides[0]
        self._decoded.append(padded)
        return model_module("gpu_preprocessing").DecodedImage(address, pitch_bytes, width, height)

    def crop_resize(self, crops: np.ndarray, pixels: np.ndarray, max_taps: int) -> None:
        self.calls.append(f"crop_resize {len(crops)}")
        assert crops.itemsize == self._kernel.crop_bytes()
        self._kernel.launch(
            crops.ctypes.data_as(ctypes.c_void_p), len(crops), pixels.ctypes.data_as(ctypes.c_void_p),
            self._crop_size, max_taps,
        )  # fmt: skip

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def host_copy(self, pixels: np.ndarray) -> np.ndarray:
        self.calls.append("host_copy")
        return pixels.copy()


@pytest.fixture
def host_device(kernel: ctypes.CDLL) -> HostDevice:
    """A device without a GPU."""
    return HostDevice(kernel)


def open_cuda_device(crop_size: int) -> Any:
    module = model_module("cuda_device")
    try:
        return module.CudaDevice(crop_size)
    except module.DeviceError as error:
        return error


@pytest.fixture(scope="session")
def cuda_device() -> Any:
    """The GPU of this machine, or the error that says why there is none."""
    return open_cuda_device(224)


@pytest.fixture(params=["host", "cuda"])
def device(request: pytest.FixtureRequest) -> Any:
    """Each kind of device that is here: the same tests hold for both."""
    if request.param == "host":
        return request.getfixturevalue("host_device")
    found = request.getfixturevalue("cuda_device")
    if isinstance(found, Exception):
        pytest.skip(f"no GPU to preprocess on: {found}")
    return found


@pytest.fixture
def gpu(device: Any) -> Any:
    """The GPU path on that device, with the sizes of the default network."""
    return model_module("gpu_preprocessing").GpuPreprocessor(
        device, crop_size=224, resize_short_side=256, warn=lambda message: None
    )
