"""The GPU of the preprocess model: nvImageCodec decodes, CuPy holds memory and launches the kernel.

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

KERNEL = Path(__file__).with_name("crop_resize.cu")
# As in crop_resize.cu.
TILE_WIDTH, TILE_HEIGHT, WEIGHT_BYTES = 32, 8, 4
# A tile has as many pixels.
BLOCK_THREADS = 256
# The decoder takes an image's memory from CUDA's pool, which gives everything back to the driver at each
# synchronisation unless it may keep some: 256 decoded photographs of a megapixel, or two batches of small ones.
KEPT_POOL_BYTES = 1 << 30
PACKAGES = {"cupy": "cupy-cuda13x", "nvidia.nvimgcodec": "nvidia-nvimgcodec-cu13"}
INSTALL = "pip install --requirement docker/requirements-server.txt"


class DeviceError(RuntimeError):
    """The GPU path cannot run here; the message says what is missing and what to do."""


class CudaDevice:
    """One GPU and one stream of it; see gpu_preprocessing.Device.

    Args:
        crop_size: side S of the pixels.
        device_id: which GPU, as CUDA counts them.
        threads: the decoder's CPU threads, which parse headers and do progressive JPEGs' Huffman codes.
        hardware_load: share of each batch for the GPU's JPEG engines, where it has any.
        decoder_options: nvImageCodec's, such as ":fancy_upsampling=1".

    Raises:
        DeviceError: no GPU, a package or a library is missing, or nothing can be decoded.
    """

    def __init__(
        self,
        crop_size: int,
        *,
        device_id: int = 0,
        threads: int = 1,
        hardware_load: float = 1.0,
        decoder_options: str = "",
    ) -> None:
        self._crop_size = crop_size
        self._cupy = cupy = import_package("cupy")
        require_device(cupy, device_id)
        self._nvimgcodec = nvimgcodec = import_package("nvidia.nvimgcodec")
        self._device = cupy.cuda.Device(device_id)
        with self._device:
            # A stream that waits for the default one: there Triton's process copies the last batch's pixels, whose
            # memory comes back for this one's.
            self._stream = cupy.cuda.Stream(non_blocking=False)
            keep_freed_memory(cupy, device_id)
            self._kernel = compile_kernel(cupy)
            kinds = nvimgcodec.BackendKind
            # Not nvImageCodec's own CPU decoders: what they would take goes to the model's CPU path.
            self._decoder = nvimgcodec.Decoder(
                device_id=device_id,
                max_num_cpu_threads=threads,
                backends=[
                    nvimgcodec.Backend(kinds.HW_GPU_ONLY, load_hint=hardware_load),
                    nvimgcodec.Backend(kinds.GPU_ONLY),
                    nvimgcodec.Backend(kinds.HYBRID_CPU_GPU),
                ],
                options=decoder_options,
            )
        # As stored: the kernel turns the crop, which is smaller than the image.
        self._params = nvimgcodec.DecodeParams(
            apply_exif_orientation=False,
            color_spec=nvimgcodec.ColorSpec.SRGB,
            sample_format=nvimgcodec.SampleFormat.I_RGB,
        )
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

    def decode(self, jpegs: Sequence[bytes]) -> list[DecodedImage | None]:
        """Decode JPEGs together; None for those that cannot be decoded. In the stream's order."""
        streams = [self._code_stream(jpeg) for jpeg in jpegs]
        readable = [stream for stream in streams if stream is not None]
        with self._device:
            images = iter(self._decoder.decode(readable, params=self._params, cuda_stream=self._stream.ptr))
        return [None if stream is None else decoded_image(next(images)) for stream in streams]

    def crop_resize(self, crops: np.ndarray, pixels: Any, max_taps: int) -> None:
        """Write the crops, (M,) of dtype CROP, into their rows of `pixels`."""
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

    def synchronize(self) -> None:
        """Wait until everything above is done."""
        self._stream.synchronize()

    def host_copy(self, pixels: Any) -> np.ndarray:
        """The same pixels in pinned memory, valid until the next call."""
        with self._device, self._stream:
            if self._host is None or len(self._host) < len(pixels):
                self._host = importlib.import_module("cupyx").empty_pinned(pixels.shape, np.uint8)
            copy = self._host[: len(pixels)]
            pixels.get(stream=self._stream, out=copy)
        self._stream.synchronize()
        return copy

    def _code_stream(self, jpeg: bytes) -> Any | None:
        try:
            return self._nvimgcodec.CodeStream(jpeg)
        except Exception:  # it raises what its parser meets; the CPU says what is wrong with the file
            return None

    def _require_decoding(self) -> None:
        """Decode an image: without nvJPEG's library the decoder is made, but decodes nothing."""
        jpeg = io.BytesIO()
        Image.new("RGB", (64, 64)).save(jpeg, "JPEG")
        decoded = self.decode([jpeg.getvalue()])
        self.synchronize()
        if decoded[0] is None:
            raise DeviceError(
                f"nvImageCodec decodes no JPEG on {self.name}; nvJPEG's library is missing or does not fit the driver; "
                f"next: {INSTALL}"
            )


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


def keep_freed_memory(cupy: Any, device_id: int) -> None:
    """Let CUDA's own pool keep what the decoder frees, see `KEPT_POOL_BYTES`."""
    runtime = cupy.cuda.runtime
    pool = runtime.deviceGetDefaultMemPool(device_id)
    runtime.memPoolSetAttribute(pool, runtime.cudaMemPoolAttrReleaseThreshold, KEPT_POOL_BYTES)


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


def decoded_image(image: Any | None) -> DecodedImage | None:
    """What the kernel needs to know of an nvImageCodec image, None where it could not be decoded."""
    if image is None:
        return None
    array = image.__cuda_array_interface__
    height, width, channels = array["shape"]
    pitch_bytes = array["strides"][0] if array.get("strides") else width * channels
    return DecodedImage(array["data"][0], pitch_bytes, width, height, owner=image)
