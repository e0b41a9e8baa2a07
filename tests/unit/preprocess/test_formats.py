"""Every format and colour mode that is accepted becomes RGB, as `Image.convert("RGB")` makes it."""

from __future__ import annotations

import io
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

SIDE = 256


def colours() -> Image.Image:
    """(256, 256) RGB without two equal corners."""
    ramp = np.arange(SIDE, dtype=np.uint8)
    x, y = ramp[None, :].repeat(SIDE, 0), ramp[:, None].repeat(SIDE, 1)
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1))


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def crop_of(image: Image.Image) -> np.ndarray:
    """What is left of an image of 256x256, which needs no resizing: its middle 224x224."""
    return np.asarray(image.convert("RGB"))[16:240, 16:240].astype(int)


@pytest.mark.parametrize(
    ("image_format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
    ],
)
def test_colours_are_kept_for_format(
    preprocessing: ModuleType, image_format: str, options: dict, tolerance: float
) -> None:
    pixels = preprocessing.pixels_from_image(encode(colours(), image_format, **options), 224)

    assert np.abs(pixels - crop_of(colours())).mean() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_mode_becomes_rgb_for_png(preprocessing: ModuleType, mode: str) -> None:
    image = colours().convert("RGBA" if mode.endswith("A") else "RGB").convert(mode)

    assert np.array_equal(preprocessing.pixels_from_image(encode(image, "PNG"), 224), crop_of(image))


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_mode_becomes_rgb_for_cmyk(preprocessing: ModuleType, image_format: str) -> None:
    stored = encode(colours().convert("CMYK"), image_format)

    pixels = preprocessing.pixels_from_image(stored, 224)

    assert np.array_equal(pixels, crop_of(Image.open(io.BytesIO(stored))))


def test_alpha_is_dropped_not_composited(preprocessing: ModuleType) -> None:
    image = colours().convert("RGBA")
    image.putalpha(0)

    assert np.array_equal(preprocessing.pixels_from_image(encode(image, "PNG"), 224), crop_of(colours()))


def test_transparent_palette_entry_keeps_its_colour(preprocessing: ModuleType) -> None:
    image = colours().convert("P")
    stored = encode(image, "PNG", transparency=bytes(range(256)))

    assert np.array_equal(preprocessing.pixels_from_image(stored, 224), crop_of(image))


def test_first_frame_is_taken_for_an_animated_gif(preprocessing: ModuleType) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "green", "blue")]
    stored = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert preprocessing.pixels_from_image(stored, 224)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_clipped(preprocessing: ModuleType, image_format: str) -> None:
    deep = (np.arange(SIDE, dtype=np.uint16) * 257)[None, :].repeat(SIDE, 0)  # 0 to 65535

    pixels = preprocessing.pixels_from_image(encode(Image.fromarray(deep), image_format), 224)

    assert pixels[0, :, 0].tolist() == list(range(16, 240))


@pytest.mark.parametrize(("highest", "dtype"), [(1, np.float32), (255, np.float32), (65535, np.int32)])
def test_grey_of_32_bits_is_scaled_by_its_range(preprocessing: ModuleType, highest: int, dtype: type) -> None:
    greys = (np.arange(SIDE) / 255 * highest).astype(dtype)[None, :].repeat(SIDE, 0)

    pixels = preprocessing.pixels_from_image(encode(Image.fromarray(greys), "TIFF"), 224)

    assert pixels[0, :, 0].tolist() == list(range(16, 240))


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan")])
def test_grey_of_32_bits_is_refused_for_values_of_no_known_range(preprocessing: ModuleType, value: float) -> None:
    stored = encode(Image.fromarray(np.full((SIDE, SIDE), value, np.float32)), "TIFF")

    with pytest.raises(preprocessing.ImageError, match="expected 0 to 255"):
        preprocessing.pixels_from_image(stored, 224)
