"""JPEGs in, their pixels in a GPU's memory out: NVIDIA's nvJPEG library, all images of a batch in one call.

Called by cuda_device.py, which owns the memory and the stream. The functions and constants are those of nvjpeg.h
(https://docs.nvidia.com/cuda/nvjpeg/), through ctypes. It lets go of the GIL while they run, but for those that read a
header: they take microseconds, and having it back can take milliseconds.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = "libnvjpeg.so.13"
SUCCESS = 0
# The GPU's JPEG engines, which take baseline files; and CUDA's cores, for GPUs that have no engines.
BACKEND_HARDWARE, BACKEND_GPU_HYBRID = 3, 2
OUTPUT_RGBI = 5  # (height, width, 3), RGB
#: Where one image goes, up to four planes of it: nvjpegImage_t.
DESTINATION = np.dtype([("channel", np.uint64, 4), ("pitch", np.uint64, 4)])


class NvJpegError(RuntimeError):
    """The library said no; the message holds the function and its status."""


class NvJpeg:
    """A decoder for one thread, on the current GPU.

    Args:
        engines: use the GPU's JPEG engines, if it has any.

    Attributes:
        engines: how many are used; 0: CUDA's cores decode.

    Raises:
        OSError: the library is not there.
        NvJpegError: it does not work here.
    """

    def __init__(self, *, engines: bool = True) -> None:
        self._library, header_functions = open_library()
        self._handle, self._state, self._header = c_void_p(), c_void_p(), c_void_p()
        self.engines = 0
        if engines and self._create(BACKEND_HARDWARE) == SUCCESS:
            found, cores = c_uint(), c_uint()
            self._do("nvjpegGetHardwareDecoderInfo", self._handle, byref(found), byref(cores))
            self.engines = found.value
        else:
            check("nvjpegCreateEx", self._create(BACKEND_GPU_HYBRID))
        self._do("nvjpegJpegStateCreate", self._handle, byref(self._state))
        self._do("nvjpegJpegStreamCreate", self._handle, byref(self._header))
        self._parse = header_functions.nvjpegJpegStreamParseHeader
        self._parse.argtypes = [c_void_p, c_char_p, c_size_t, c_void_p]
        self._supported = header_functions.nvjpegDecodeBatchedSupported
        self._dimensions = header_functions.nvjpegJpegStreamGetFrameDimensions
        self._batch_size = 0

    def size(self, jpeg: bytes) -> tuple[int, int] | None:
        """Width and height of a JPEG that `decode` takes; None for others, progressive ones among them."""
        unsupported, width, height = c_int(), c_uint(), c_uint()
        if (
            self._parse(self._handle, jpeg, len(jpeg), self._header)
            or self._supported(self._handle, self._header, byref(unsupported))
            or unsupported.value
            or self._dimensions(self._header, byref(width), byref(height))
        ):
            return None
        return width.value, height.value

    def decode(self, jpegs: Sequence[bytes], addresses: np.ndarray, pitches_bytes: np.ndarray, stream: int) -> None:
        """Decode a batch into device memory, (height, width, 3) uint8 each; complete when the stream is.

        Args:
            jpegs: N files whose `size` was found.
            addresses: (N,), where each image goes. On Hopper the engines write there at once, whatever is still
                queued on the stream (https://github.com/pytorch/vision/pull/9606).
            pitches_bytes: (N,), from one line to the next.
            stream: a CUDA stream's handle.

        Raises:
            NvJpegError: one of the images, or the GPU, is at fault; no image is there.
        """
        count = len(jpegs)
        if count != self._batch_size:
            self._batch_size = 0
            self._do("nvjpegDecodeBatchedInitialize", self._handle, self._state, count, 1, OUTPUT_RGBI)
            self._batch_size = count
        files = (c_char_p * count)(*jpegs)
        lengths = (c_size_t * count)(*map(len, jpegs))
        destinations = np.zeros(count, DESTINATION)
        destinations["channel"][:, 0] = addresses
        destinations["pitch"][:, 0] = pitches_bytes
        self._do(
            "nvjpegDecodeBatched",
            self._handle, self._state, files, lengths, c_void_p(destinations.ctypes.data), c_void_p(stream),
        )  # fmt: skip

    def _create(self, backend: int) -> int:
        return self._library.nvjpegCreateEx(c_int(backend), None, None, c_uint(0), byref(self._handle))

    def _do(self, function: str, *arguments: Any) -> None:
        check(function, getattr(self._library, function)(*arguments))


def check(function: str, status: int) -> None:
    """Raise NvJpegError unless a call succeeded."""
    if status != SUCCESS:
        raise NvJpegError(f"{function} answered status {status} (nvjpegStatus_t in nvjpeg.h)")


def open_library() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    """Load nvJPEG, from NVIDIA's wheel where that is installed, else from the system: without the GIL, and with it.

    Raises:
        OSError: it is in neither.
    """
    found = importlib.util.find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found else ():
        library = Path(folder) / "cu13" / "lib" / LIBRARY
        if library.is_file():
            return ctypes.CDLL(str(library)), ctypes.PyDLL(str(library))
    return ctypes.CDLL(LIBRARY), ctypes.PyDLL(LIBRARY)
