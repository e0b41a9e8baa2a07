"""Bytes that are no image are refused with the reason, and with nothing but ImageError."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

# Pillow says more about damaged files than anybody reads.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


def encode(image_format: str, size: tuple[int, int] = (120, 90)) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, image_format)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def refusal(preprocessing: ModuleType, image_bytes: bytes) -> str:
    with pytest.raises(preprocessing.ImageError) as caught:
        preprocessing.pixels_from_image(image_bytes, 224)
    return str(caught.value)


def test_empty_image_is_called_empty(preprocessing: ModuleType) -> None:
    assert refusal(preprocessing, b"") == "the image is empty: 0 bytes"


@pytest.mark.parametrize("image_bytes", [b"hello", b"%PDF-1.7 ...", b"\x00" * 100, b"<svg></svg>"])
def test_unknown_format_is_named_by_its_first_bytes(preprocessing: ModuleType, image_bytes: bytes) -> None:
    message = refusal(preprocessing, image_bytes)

    assert message.startswith("not an image in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF)")
    assert f"{len(image_bytes)} bytes that begin with {image_bytes[:8]!r}" in message


def test_format_that_is_not_accepted_is_not_decoded(preprocessing: ModuleType) -> None:
    assert "not an image in a known format" in refusal(preprocessing, encode("PPM"))


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9])
def test_truncated_image_is_called_truncated(preprocessing: ModuleType, image_format: str, kept: float) -> None:
    whole = encode(image_format)

    message = refusal(preprocessing, whole[: max(4, int(len(whole) * kept))])

    assert "damaged" in message


def test_too_many_pixels_are_refused_before_they_are_decoded(preprocessing: ModuleType) -> None:
    assert "too many pixels" in refusal(preprocessing, png_of_size(15_000, 15_000))


def test_side_too_long_for_pillows_box_is_refused(preprocessing: ModuleType) -> None:
    assert "too many pixels: 20000000x1" in refusal(preprocessing, png_of_size(20_000_000, 1))


def test_limit_of_pixels_can_be_lowered(preprocessing: ModuleType) -> None:
    pixels = np.empty((224, 224, 3), np.uint8)

    with pytest.raises(preprocessing.ImageError, match="too many pixels: 120x90, at most 10799 are decoded"):
        preprocessing.preprocess_into(encode("PNG"), pixels, max_image_pixels=120 * 90 - 1)


@pytest.mark.parametrize("image_format", FORMATS)
def test_damaged_bytes_raise_nothing_but_image_error(preprocessing: ModuleType, image_format: str) -> None:
    whole = encode(image_format)
    chance = random.Random(7)
    for _ in range(300):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(1, 12)):
            if damaged:
                # headers are short and matter most
                damaged[chance.randrange(min(len(damaged), chance.choice([40, len(whole)])))] = chance.randrange(256)
        try:
            pixels = preprocessing.pixels_from_image(bytes(damaged), 224)
        except preprocessing.ImageError:
            continue
        else:
            assert pixels.shape == (224, 224, 3)


def test_damaged_photograph_leaves_other_rows_untouched(preprocessing: ModuleType, photographs: list[Path]) -> None:
    pixels = np.full((2, 224, 224, 3), 7, np.uint8)

    with pytest.raises(preprocessing.ImageError):
        preprocessing.preprocess_into(photographs[0].read_bytes()[:3000], pixels[0])

    assert (pixels[1] == 7).all()
