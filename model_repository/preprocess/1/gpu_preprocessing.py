"""A batch of JPEGs in, their pixels on the GPU out: the GPU path of the preprocess model.

Called by model.py, which sends everything that is no JPEG for the GPU, or that its decoder refuses, through
image_preprocessing.py. One call decodes all images together, and one kernel crops, resizes and turns them upright
(crop_resize.cu). What runs on the GPU is behind `Device`: cuda_device.py, or in the tests the same kernel compiled for
a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .image_preprocessing import MAX_IMAGE_PIXELS, crop_box
from .jpeg_header import JpegHeader, gpu_header

#: One image for the kernel; the layout of Crop in crop_resize.cu.
CROP = np.dtype(
    [
        ("pixels", np.uint64), ("pitch", np.int64), ("width", np.int32), ("height", np.int32),
        ("left", np.float32), ("upper", np.float32), ("right", np.float32), ("lower", np.float32),
        ("orientation", np.int32), ("row", np.int32),
    ]
)  # fmt: skip

# Decoded at full size, an image takes 3 bytes a pixel of the GPU's memory: at most 192 MB for one and, together with
# the others that are decoded at once, 384 MB.
MAX_GPU_IMAGE_PIXELS = 64 << 20
MAX_GPU_BATCH_PIXELS = 128 << 20
# So many pixels of the image the kernel weighs for one of the crop, along one axis: its weights fill the 48 KB of
# shared memory that every GPU has, (32 + 8) x 256 x 4 bytes and some. That is an image shrunk 127 times.
MAX_TAPS = 256


@dataclass(frozen=True)
class DecodedImage:
    """An image in the device's memory: (height, width, 3) uint8, RGB, as stored."""

    address: int
    pitch_bytes: int
    width: int
    height: int


class Device(Protocol):
    """What the GPU path asks of a GPU; everything happens in the order of the calls."""

    def empty_pixels(self, count: int) -> Any:
        """(count, S, S, 3) uint8 on the device, of any content."""

    def decode(self, jpegs: Sequence[bytes]) -> list[DecodedImage | None]:
        """Wait for everything above; the JPEGs' pixels, there until `crop_resize`, None where the decoder refuses."""

    def crop_resize(self, crops: np.ndarray, pixels: Any, max_taps: int) -> None:
        """Write the crops of what was decoded, (M,) of dtype CROP, into their rows of `pixels`."""

    def synchronize(self) -> None:
        """Wait until everything above is done."""

    def host_copy(self, pixels: Any) -> np.ndarray:
        """Wait until everything above is done; the same pixels in ordinary memory, valid until the next call."""


class GpuPreprocessor:
    """Decodes, resizes and crops JPEGs on a device.

    Args:
        device: see `Device`.
        crop_size: side S of the pixels.
        resize_short_side: the short side, in pixels, that an image is thought to be resized to.
        max_image_pixels: larger images are not the GPU's; nor are those over `MAX_GPU_IMAGE_PIXELS`.
        warn: told what went wrong on the GPU and will be done by the CPU.
    """

    def __init__(
        self,
        device: Device,
        *,
        crop_size: int,
        resize_short_side: int,
        warn: Callable[[str], None],
        max_image_pixels: int = MAX_IMAGE_PIXELS,
    ) -> None:
        self.device = device
        self._crop_size = crop_size
        self._short_side = resize_short_side
        self._max_image_pixels = min(max_image_pixels, MAX_GPU_IMAGE_PIXELS)
        self._warn = warn

    def header(self, image_bytes: bytes) -> JpegHeader | None:
        """Read the header of an image that the GPU decodes; None for one that is the CPU's."""
        header = gpu_header(image_bytes)
        if header is None or header.pixels > self._max_image_pixels or self._taps(header) > MAX_TAPS:
            return None
        return header

    def __call__(self, jpegs: Sequence[bytes], headers: Sequence[JpegHeader]) -> tuple[Any, set[int]]:
        """Make the pixels of JPEGs whose `header` was read.

        Returns:
            (N, S, S, 3) uint8, RGB, on the device, complete when its `synchronize` or `host_copy` returns; and the
            rows that the decoder refused, whose pixels are undefined.
        """
        pixels = self.device.empty_pixels(len(jpegs))
        refused: set[int] = set()
        for rows in batches(headers):
            refused |= self._preprocess(jpegs, headers, rows, pixels)
        return pixels, refused

    def _preprocess(self, jpegs: Sequence[bytes], headers: Sequence[JpegHeader], rows: range, pixels: Any) -> set[int]:
        """Decode some images together and write their rows; return those that the decoder refused.

        The decoder fails for all or none, so the images beside one that it fails for are decoded again, in halves.
        """
        try:
            decoded = self.device.decode([jpegs[row] for row in rows])
        except Exception as fault:  # one damaged file, or out of memory, say: the CPU needs none of the GPU's
            if len(rows) > 1:
                middle = rows.start + len(rows) // 2
                halves = range(rows.start, middle), range(middle, rows.stop)
                return set().union(*(self._preprocess(jpegs, headers, half, pixels) for half in halves))
            self._warn(f"the GPU's decoder failed for an image, which the CPU decodes: {fault!r}")
            return set(rows)
        crops = []
        refused = set()
        for row, image in zip(rows, decoded, strict=True):
            # A decoder that finds another size than the header says found another image than libjpeg would.
            if image is None or (image.width, image.height) != (headers[row].width, headers[row].height):
                refused.add(row)
            else:
                crops.append(self._crop(image, headers[row].orientation, row))
        if crops:
            self.device.crop_resize(np.array(crops, CROP), pixels, max(self._taps(headers[row]) for row in rows))
        return refused

    def _crop(self, image: DecodedImage, orientation: int, row: int) -> tuple:
        box = crop_box(image.width, image.height, orientation, self._short_side, self._crop_size)
        inside = (min(edge, side) for edge, side in zip(box, (image.width, image.height) * 2, strict=True))
        return (image.address, image.pitch_bytes, image.width, image.height, *inside, orientation, row)

    def _taps(self, header: JpegHeader) -> int:
        """The most pixels that are weighed along one axis for one of the crop (Pillow's ksize)."""
        # The resized long side is rounded down to a whole pixel, so that axis shrinks a little more.
        scale = min(header.width, header.height) / self._short_side * (self._short_side + 1) / self._short_side
        return 2 * math.ceil(max(1.0, scale)) + 1


def batches(headers: Sequence[JpegHeader]) -> Iterator[range]:
    """Rows to decode together, in order, so that their decoded pixels stay within `MAX_GPU_BATCH_PIXELS`."""
    start = pixels = 0
    for row, header in enumerate(headers):
        if row > start and pixels + header.pixels > MAX_GPU_BATCH_PIXELS:
            yield range(start, row)
            start, pixels = row, 0
        pixels += header.pixels
    if start < len(headers):
        yield range(start, len(headers))
