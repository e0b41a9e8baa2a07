from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from alexnet_client import InvalidImage
from alexnet_client._images import image_bytes_from, image_name, png_from_pixels
from PIL import Image

PIXELS = np.random.default_rng(7).integers(0, 256, (5, 9, 3), dtype=np.uint8)


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.mark.parametrize("kind", [str, Path])
def test_file_passes_through_unchanged(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"\xff\xd8 not looked at")
    assert image_bytes_from(kind(path)) == b"\xff\xd8 not looked at"
    assert image_name(kind(path)) == str(path)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_pass_through_unchanged(kind: type) -> None:
    assert image_bytes_from(kind(b"abc")) == b"abc"
    assert image_name(kind(b"abc"), 7) == "image 7"


def test_file_object_is_read_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "two.bin"
    path.write_bytes(b"headimage")
    with path.open("rb") as file:
        file.seek(4)
        assert image_bytes_from(file) == b"image"
        assert image_name(file) == str(path)
        assert not file.closed


@pytest.mark.parametrize(
    "pixels",
    [PIXELS, PIXELS[:, ::-1], PIXELS[..., 0], np.asfortranarray(PIXELS), PIXELS[:1, :1]],
    ids=["rgb", "mirrored view", "grey", "column-major", "one pixel"],
)
def test_array_becomes_a_lossless_png(pixels: np.ndarray) -> None:
    assert np.array_equal(decoded(image_bytes_from(pixels)), pixels)


def test_array_with_one_channel_becomes_a_grey_png() -> None:
    assert np.array_equal(decoded(png_from_pixels(PIXELS[..., :1])), PIXELS[..., 0])


@pytest.mark.parametrize(
    "pixels",
    [
        PIXELS.astype(np.float32),
        PIXELS.astype(np.int64),
        np.zeros((3, 8), np.uint8)[None, None],
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(3, np.uint8),
    ],
)
def test_array_of_another_kind_is_refused_with_its_shape_and_dtype(pixels: np.ndarray) -> None:
    with pytest.raises(InvalidImage) as caught:
        image_bytes_from(pixels)
    assert str(pixels.shape) in caught.value.message
    assert str(pixels.dtype) in caught.value.message
    assert "expected (height, width, 3) RGB or (height, width) grey, uint8" in caught.value.message


def test_pil_image_is_saved_losslessly() -> None:
    assert np.array_equal(decoded(image_bytes_from(Image.fromarray(PIXELS))), PIXELS)


def test_pil_image_in_a_mode_that_png_lacks_becomes_rgb() -> None:
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    assert np.array_equal(decoded(image_bytes_from(cmyk)), np.asarray(cmyk.convert("RGB")))


def test_pil_image_keeps_its_orientation() -> None:
    image = Image.fromarray(PIXELS)
    image.getexif()[0x0112] = 6
    with Image.open(io.BytesIO(image_bytes_from(image))) as sent:
        assert sent.getexif()[0x0112] == 6


def test_damaged_pil_image_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(png_from_pixels(np.zeros((64, 64, 3), np.uint8))[:60])
    with Image.open(path) as image, pytest.raises(InvalidImage, match="cannot be saved"):
        image_bytes_from(image)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage) as caught:
        image_bytes_from(tmp_path / "none.jpg")
    assert caught.value.message == f"{tmp_path}/none.jpg: no such file"


def test_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage) as caught:
        image_bytes_from(tmp_path)
    assert caught.value.message == f"{tmp_path}: a directory, not an image file"


def test_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(InvalidImage) as caught:
        image_bytes_from(path)
    assert caught.value.message == f"{path}: the image is empty (0 bytes)"


def test_path_with_a_null_byte_is_invalid() -> None:
    with pytest.raises(InvalidImage, match="cannot be read"):
        image_bytes_from("a\0b.jpg")


def test_text_file_is_refused() -> None:
    with pytest.raises(InvalidImage, match="mode 'rb'"):
        image_bytes_from(io.StringIO("text"))  # type: ignore[arg-type]


def test_other_type_is_refused_by_name() -> None:
    with pytest.raises(InvalidImage, match="type int is not understood"):
        image_bytes_from(5)  # type: ignore[arg-type]
