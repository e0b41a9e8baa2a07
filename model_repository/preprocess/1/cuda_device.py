"""The GPU of the preprocess model: nvJPEG decodes, CuPy holds memory and launches the kernel.

Called by model.py, which opens one device per process; gpu_preprocessing.py uses it. The packages are imported when
a device is opened: a server without a GPU needs none of them (docker/requirements-server.txt lists them).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .gpu_preprocessing import DecodedImage
from .nvjpeg import NvJpeg, NvJpegError

KERNEL = Path(__file__).with_name("crop_resize.cu")
# As in crop_resize.cu.
TILE_WIDTH, TILE_HEIGHT, WEIGHT_BYTES = 32, 8, 4
# A tile has as many pixels.
BLOCK_THREADS = 256
# Decoded images begin at multiples of it, as memory from CUDA's own allocator does.
ALIGNMENT_BYTES = 256
PACKAGES = {"cupy": "cupy-cuda13x"}
INSTALL = "pip install --requirement docker/requirements-server.txt"


class DeviceError(RuntimeError):
    """The GPU path cannot run here; the message says what is missing and what to do."""


class CudaDevice:
    """One GPU and one stream of it; see gpu_preprocessing.Device.

    Args:
        crop_size: side S of the pixels.
        device_id: which GPU, as CUDA counts them.
        engines: use the GPU's JPEG engines, if it has any; otherwise CUDA's cores decode.

    Raises:
        DeviceError: no GPU, a package or a library is missing, or nothing can be decoded.
    """

    def __init__(self, crop_size: int, *, device_id: int = 0, engines: bool = True) -> None:
        self._crop_size = crop_size
        self._cupy = cupy = import_package("cupy")
        require_device(cupy, device_id)
        self._device = cupy.cuda.Device(device_id)
        with self._device:
            # A stream that waits for the default one: there Triton's process copies the last batch's pixels, whose
            # memory comes back for this one's.
            self._stream = cupy.cuda.Stream(non_blocking=False)
            self._kernel = compile_kernel(cupy)
            self._decoder = open_decoder(engines=engines)
        self._decoded = None
        self._written_bytes = 0  # of it, since it was black
        self._host: np.ndarray | None = None
        self._require_decoding()

    @property
    def name(self) -> str:
        """The GPU's name, such as "NVIDIA L4"."""
        return self._cupy.cuda.runtime.getDeviceProperties(self._device.id)["name"].decode()

    def empty_pixels(self, count: int) -> Any:
        """(count, S, S, 3) uint8, a CuPy array, of any content."""
        with self._device, self._stream:
            return self._cupy.empty((count, self._crop_size, self._crop_size, 3), np.uint8)

    @property
    def jpeg_engines(self) -> int:
        """How many of the GPU's JPEG engines decode; 0: CUDA's cores do."""
        return self._decoder.engines

    def decode(self, jpegs: Sequence[bytes]) -> list[DecodedImage | None]:
        """Decode JPEGs together, where the last ones were; None for those that the decoder does not take.

        Waits for everything that was asked for before.

        Raises:
            NvJpegError: one of them cannot be decoded, and so none was.
        """
        with self._device:
            sizes = [self._decoder.size(jpeg) for jpeg in jpegs]
            taken = np.array([size for size in sizes if size is not None], np.int64).reshape(-1, 2)
            pitches_bytes = 3 * taken[:, 0]
            ends = np.cumsum(-(pitches_bytes * taken[:, 1]) // ALIGNMENT_BYTES * -ALIGNMENT_BYTES)
            if not len(ends):
                return [None] * len(jpegs)
            memory = self._black_memory(int(ends[-1]))
            addresses = memory.data.ptr + np.concatenate([[0], ends[:-1]])
            wanted = [jpeg for jpeg, size in zip(jpegs, sizes, strict=True) if size is not None]
            self._decoder.decode(wanted, addresses, pitches_bytes, self._stream.ptr)
        images = map(decoded_image, addresses.tolist(), taken.tolist())
        return [None if size is None else next(images) for size in sizes]

    def _black_memory(self, count_bytes: int) -> Any:
        """Memory for decoded images, black: what a damaged file leaves unwritten is not the last caller's picture."""
        if self._decoded is None or self._decoded.size < count_bytes:
            self._decoded = None  # goes back before the larger one is taken
            self._decoded = self._cupy.empty(count_bytes, np.uint8)
            self._written_bytes = count_bytes
        self._blacken()
        self._stream.synchronize()  # the decoder does not wait for the stream
        self._written_bytes = count_bytes
        return self._decoded[:count_bytes]

    def _blacken(self) -> None:
        """Queue that the memory is black again where it was written to."""
        if self._written_bytes:
            self._decoded.data.memset_async(0, self._written_bytes, self._stream)
            self._written_bytes = 0

    def crop_resize(self, crops: np.ndarray, pixels: Any, max_taps: int) -> None:
        """Write the crops, (M,) of dtype CROP, into their rows of `pixels`; then the decoded images are gone."""
        tiles = (-(-self._crop_size // TILE_WIDTH), -(-self._crop_size // TILE_HEIGHT), len(crops))
        with self._device, self._stream:
            uploaded = self._cupy.empty(crops.nbytes, np.uint8)
            uploaded.set(crops.view(np.uint8), stream=self._stream)
            self._kernel(
                tiles,
                (BLOCK_THREADS,),
                (uploaded, pixels, np.int32(self._crop_size), np.int32(max_taps)),
                shared_mem=(TILE_WIDTH + TILE_HEIGHT) * max_taps * WEIGHT_BYTES,
            )
            self._blacken()  # now, when nobody waits for it alone

    def synchronize(self) -> None:
        """Wait until everything above is done."""
        self._stream.synchronize()

    def host_copy(self, pixels: Any) -> np.ndarray:
        """Wait as `synchronize` does; the same pixels in pinned memory, valid until the next call."""
        with self._device, self._stream:
            if self._host is None or len(self._host) < len(pixels):
                self._host = importlib.import_module("cupyx").empty_pinned(pixels.shape, np.uint8)
            copy = self._host[: len(pixels)]
            pixels.get(stream=self._stream, out=copy)
        self._stream.synchronize()
        return copy

    def _require_decoding(self) -> None:
        """Decode an image: without nvJPEG's library the decoder is made, but decodes nothing."""
        jpeg = io.BytesIO()
        Image.new("RGB", (64, 64)).save(jpeg, "JPEG")
        try:
            decoded = self.decode([jpeg.getvalue()])
        except NvJpegError as error:
            raise DeviceError(f"nvJPEG decodes nothing on {self.name} ({error}); next: {INSTALL}") from error
        self.synchronize()
        if decoded[0] is None:
            raise DeviceError(f"nvJPEG takes no JPEG on {self.name}; next: {INSTALL}")


def open_decoder(*, engines: bool) -> NvJpeg:
    """Open nvJPEG on the current GPU.

    Raises:
        DeviceError: the library is missing or does not fit the driver.
    """
    try:
        return NvJpeg(engines=engines)
    except (OSError, NvJpegError) as error:
        raise DeviceError(f"nvJPEG cannot be used ({error}); next: {INSTALL}") from error


def import_package(name: str) -> Any:
    """Import one of `PACKAGES`.

    Raises:
        DeviceError: it is not installed, or a library that it needs is not.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DeviceError(f"the package {PACKAGES[name]} cannot be imported ({reason}); next: {INSTALL}") from error


def require_device(cupy: Any, device_id: int) -> None:
    """Check that the driver shows this GPU.

    Raises:
        DeviceError: it does not.
    """
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"no GPU: {error}; next: nvidia-smi, which says what the driver sees") from error
    if device_id >= count:
        raise DeviceError(f"GPU {device_id} was asked for, and there are {count}; next: nvidia-smi")


def compile_kernel(cupy: Any) -> Any:
    """Compile crop_resize.cu for the current GPU.

    Raises:
        DeviceError: NVIDIA's run-time compiler is missing or refuses it.
    """
    # There is one small kernel, and a server's user may have no home to keep it in.
    os.environ.setdefault("CUPY_CACHE_IN_MEMORY", "1")
    load_compiler()
    try:
        module = cupy.RawModule(code=KERNEL.read_text(), options=("--fmad=false",))
        return module.get_function("crop_resize")
    except Exception as error:  # CuPy's own CompileException, or RuntimeError where the library is missing
        raise DeviceError(f"{KERNEL.name} cannot be compiled ({error}); next: {INSTALL}") from error


def load_compiler() -> None:
    """Load NVRTC from NVIDIA's wheel, where there is one: CuPy 13 looks for it among the system's libraries only."""
    found = importlib.util.find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found else ():
        library = Path(folder) / "cu13" / "lib" / "libnvrtc.so.13"
        if library.is_file():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            return


def decoded_image(address: int, size: tuple[int, int]) -> DecodedImage:
    """What the kernel needs to know of an image whose lines follow each other."""
    width, height = size
    return DecodedImage(address, 3 * width, width, height)
