"""A photograph that a camera stored turned or mirrored is turned upright before it is cropped."""

from __future__ import annotations

import io
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageOps

ORIENTATION = 0x0112


def gradient(width: int, height: int) -> Image.Image:
    """An image whose every corner differs, smooth enough for JPEG."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 64)], axis=-1).astype(np.uint8))


def encode(image: Image.Image, image_format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    image.save(file, image_format, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [(401, 300), (300, 401), (301, 301)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_upright_for_every_orientation(
    preprocessing: ModuleType, orientation: int, size: tuple[int, int], image_format: str
) -> None:
    stored = encode(gradient(*size), image_format, orientation)
    upright = io.BytesIO()
    ImageOps.exif_transpose(Image.open(io.BytesIO(stored))).convert("RGB").save(upright, "PNG")

    turned_here = preprocessing.pixels_from_image(stored, 224).astype(int)
    turned_before = preprocessing.pixels_from_image(upright.getvalue(), 224).astype(int)

    # Resizing columns before rows, or rows before columns, rounds differently by one.
    assert np.abs(turned_here - turned_before).max() <= 1


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_image_stays_as_stored_for_an_orientation_that_exif_does_not_know(
    preprocessing: ModuleType, orientation: int
) -> None:
    image = gradient(400, 300)

    unknown = preprocessing.pixels_from_image(encode(image, "PNG", orientation), 224)

    assert np.array_equal(unknown, preprocessing.pixels_from_image(encode(image, "PNG", 1), 224))


def test_image_stays_as_stored_for_a_damaged_exif_block(preprocessing: ModuleType) -> None:
    stored = encode(gradient(400, 300), "JPEG", 6)
    damaged = stored.replace(b"Exif\x00\x00MM\x00*", b"Exif\x00\x00XX\xff\xff")
    assert damaged != stored

    pixels = preprocessing.pixels_from_image(damaged, 224)

    assert np.array_equal(pixels, preprocessing.pixels_from_image(encode(gradient(400, 300), "JPEG", 1), 224))
