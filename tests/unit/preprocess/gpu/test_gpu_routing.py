"""What goes to the GPU, what stays with the CPU, and that both give the same pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Of 255: decoders differ by a level or two in places, and the GPU's takes chroma from the nearest sample.
MEAN_LIMIT = 1.0


def picture(width: int = 320, height: int = 240) -> Image.Image:
    """A smooth image whose every corner differs."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def encode(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def header(model: Callable[[str], ModuleType], image_bytes: bytes) -> Any:
    return model("jpeg_header").gpu_header(image_bytes)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"subsampling": 0}, {"restart_marker_blocks": 4}])
def test_jpeg_goes_to_the_gpu(model: Callable, options: dict) -> None:
    found = header(model, encode(picture(), **options))

    assert (found.width, found.height, found.orientation) == (320, 240, 1)


def test_grey_jpeg_goes_to_the_gpu(model: Callable) -> None:
    assert header(model, encode(picture().convert("L"))).pixels == 320 * 240


@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_knows_the_orientation_of_exif(model: Callable, orientation: int) -> None:
    assert header(model, encode(picture(), exif=exif(orientation))).orientation == orientation


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_header_takes_an_unknown_orientation_for_upright(model: Callable, orientation: int) -> None:
    assert header(model, encode(picture(), exif=exif(orientation))).orientation == 1


def test_header_knows_the_orientation_of_xmp(model: Callable) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

    assert header(model, encode(picture(), xmp=xmp)).orientation == 6


def test_header_takes_a_damaged_exif_block_for_upright(model: Callable) -> None:
    stored = encode(picture(), exif=exif(6))
    damaged = stored.replace(b"Exif\x00\x00MM\x00*", b"Exif\x00\x00XX\xff\xff")
    assert damaged != stored

    assert header(model, damaged).orientation == 1


WHOLE = encode(picture())
LEFT_TO_THE_CPU = {
    "empty": b"",
    "garbage": b"hello",
    "a JPEG's first and last marker": b"\xff\xd8\xff\xd9",
    "PNG": encode(picture(), "PNG"),
    "WebP": encode(picture(), "WEBP"),
    "GIF": encode(picture(), "GIF"),
    "BMP": encode(picture(), "BMP"),
    "TIFF": encode(picture(), "TIFF"),
    "CMYK": encode(picture().convert("CMYK")),
    "RGB in a JPEG": encode(picture(), keep_rgb=True),
    "Adobe's mark that says RGB": WHOLE[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + WHOLE[2:],
    "progressive": encode(picture(), progressive=True),
    "no scan": WHOLE[: WHOLE.index(b"\xff\xda")] + b"\xff\xd9",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "bytes after the image": WHOLE + b"\x00",
    "arithmetic coding": WHOLE.replace(b"\xff\xc0", b"\xff\xc9", 1),
    "12 bits": WHOLE.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c", 1),
    "a segment longer than the file": WHOLE.replace(b"\xff\xc0\x00\x11", b"\xff\xc0\xff\xff", 1),
    "no pixels": WHOLE.replace(b"\x11\x08\x00\xf0", b"\x11\x08\x00\x00", 1),
}


@pytest.mark.parametrize("what", LEFT_TO_THE_CPU)
def test_image_is_left_to_the_cpu(model: Callable, what: str) -> None:
    assert header(model, WHOLE) is not None
    assert LEFT_TO_THE_CPU[what] != WHOLE
    assert header(model, LEFT_TO_THE_CPU[what]) is None


def preprocessor(model: Callable, device: Any, **options: Any) -> Any:
    settings: dict[str, Any] = {"crop_size": 224, "resize_short_side": 256, "warn": lambda message: None}
    return model("gpu_preprocessing").GpuPreprocessor(device, **settings | options)


def test_image_over_the_servers_limit_is_left_to_the_cpu_that_refuses_it(model: Callable, host_device: Any) -> None:
    assert preprocessor(model, host_device, max_image_pixels=320 * 240).header(WHOLE) is not None
    assert preprocessor(model, host_device, max_image_pixels=320 * 240 - 1).header(WHOLE) is None


def test_image_that_shrinks_beyond_the_kernels_weights_is_left_to_the_cpu(model: Callable, host_device: Any) -> None:
    image = encode(Image.new("L", (2048, 2048)))

    assert preprocessor(model, host_device).header(image) is not None
    assert preprocessor(model, host_device, crop_size=8, resize_short_side=8).header(image) is None


@pytest.mark.parametrize("short_side", [8, 100, 256])
@pytest.mark.parametrize("size", [(100, 112), (1000, 1003), (3001, 4000), (16, 5000), (257, 300)])
def test_no_pixel_has_more_weights_than_the_bound(
    model: Callable, host_device: Any, preprocessing: ModuleType, size: tuple[int, int], short_side: int
) -> None:
    gpu = preprocessor(model, host_device, crop_size=short_side, resize_short_side=short_side)
    left, upper, right, lower = preprocessing.crop_box(*size, 1, short_side, short_side)
    scale = max(1.0, (right - left) / short_side, (lower - upper) / short_side)

    # An interval of twice the filter's support touches at most as many whole pixels.
    assert int(2 * scale) + 1 <= gpu._taps(model("jpeg_header").JpegHeader(*size, 1))


def run(gpu: Any, images: list[bytes]) -> tuple[np.ndarray, set[int]]:
    pixels, refused = gpu(images, [gpu.header(image) for image in images])
    return np.array(gpu.device.host_copy(pixels)), refused


@pytest.mark.parametrize("size", [(401, 300), (300, 401), (301, 301)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_upright_for_every_orientation(
    gpu: Any, preprocessing: ModuleType, orientation: int, size: tuple[int, int]
) -> None:
    stored = encode(picture(*size), quality=95, exif=exif(orientation))

    pixels, refused = run(gpu, [stored])

    assert not refused
    assert np.abs(pixels[0].astype(int) - preprocessing.pixels_from_image(stored, 224)).mean() <= MEAN_LIMIT


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 4}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (60, 45), (1000, 333), (3000, 2000)])
def test_pixels_are_the_cpu_paths(
    gpu: Any, preprocessing: ModuleType, photographs: list[Path], size: tuple[int, int], options: dict
) -> None:
    with Image.open(photographs[0]) as photograph:
        images = [encode(photograph.convert(mode).resize(size), **options) for mode in ("RGB", "L")]

    pixels, refused = run(gpu, images)

    for row, image in enumerate(images):
        if row not in refused:
            assert np.abs(pixels[row].astype(int) - preprocessing.pixels_from_image(image, 224)).mean() <= MEAN_LIMIT
    assert 0 not in refused


def test_pixels_are_the_cpu_paths_on_the_projects_photographs(
    gpu: Any, preprocessing: ModuleType, photographs: list[Path]
) -> None:
    images = [path.read_bytes() for path in photographs]

    pixels, refused = run(gpu, images)

    expected = np.stack([preprocessing.pixels_from_image(image, 224) for image in images])
    differences = np.abs(pixels.astype(int) - expected).mean(axis=(1, 2, 3))
    assert not refused
    assert differences.max() <= MEAN_LIMIT, differences


def test_batch_of_different_images_keeps_its_order(gpu: Any, preprocessing: ModuleType) -> None:
    images = [encode(Image.new("RGB", (100 + 7 * shade, 90), (shade, 255 - shade, 128))) for shade in range(0, 256, 5)]

    pixels, refused = run(gpu, images)

    expected = np.stack([preprocessing.pixels_from_image(image, 224) for image in images])
    assert not refused
    assert np.abs(pixels.astype(int) - expected).max() <= 4  # one colour an image: the decoders' rounding alone


def test_damaged_jpegs_leave_the_others_alone(gpu: Any, preprocessing: ModuleType, photographs: list[Path]) -> None:
    good = photographs[0].read_bytes()
    middle = len(good) // 2
    damaged = [
        good[: middle - 40] + bytes(80) + good[middle + 40 :],
        good[:700] + b"\xff\xd9",
        good[:middle] + b"\xff\xd9",
    ]
    images = [image for bad in damaged for image in (good, bad)] + [good]
    images = [image for image in images if gpu.header(image)]
    rows = [row for row, image in enumerate(images) if image == good]

    pixels, refused = run(gpu, images)

    assert not refused & set(rows)
    expected = preprocessing.pixels_from_image(good, 224)
    assert all(np.abs(pixels[row].astype(int) - expected).mean() <= MEAN_LIMIT for row in rows)


def test_batches_that_follow_each_other_do_not_write_into_each_others_pixels(gpu: Any) -> None:
    shades = range(0, 256, 16)
    images = [encode(Image.new("RGB", (300, 200), (shade, shade, shade))) for shade in shades]

    kept = [gpu([image] * 8, [gpu.header(image)] * 8)[0] for image in images]

    for shade, pixels in zip(shades, kept, strict=True):
        assert np.abs(np.array(gpu.device.host_copy(pixels)).astype(int) - shade).max() <= 1


def test_batch_is_decoded_in_parts_whose_pixels_fit(
    model: Callable, host_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model("gpu_preprocessing"), "MAX_GPU_BATCH_PIXELS", 2 * 320 * 240)

    pixels, refused = run(preprocessor(model, host_device), [WHOLE] * 5)

    assert host_device.calls == ["decode 2", "crop_resize 2"] * 2 + ["decode 1", "crop_resize 1", "host_copy"]
    assert not refused
    assert all(np.array_equal(pixels[0], row) for row in pixels)


def test_batch_is_one_decoding_and_one_launch(model: Callable, host_device: Any) -> None:
    run(preprocessor(model, host_device), [WHOLE] * 64)

    assert host_device.calls == ["decode 64", "crop_resize 64", "host_copy"]


def test_image_that_the_decoder_refuses_is_named_and_its_row_left_alone(model: Callable, host_device: Any) -> None:
    other = encode(picture(300, 300))
    host_device.refuse = {other}

    pixels, refused = run(preprocessor(model, host_device), [WHOLE, other, WHOLE])

    assert refused == {1}
    assert (pixels[1] == 99).all()
    assert np.array_equal(pixels[0], pixels[2])


def test_image_of_another_size_than_its_header_says_is_refused(model: Callable, host_device: Any) -> None:
    gpu = preprocessor(model, host_device)
    wrong = model("jpeg_header").JpegHeader(321, 240, 1)

    _, refused = gpu([WHOLE, WHOLE], [wrong, gpu.header(WHOLE)])

    assert refused == {0}


def test_file_that_the_decoder_fails_for_is_left_to_the_cpu_alone(model: Callable, host_device: Any) -> None:
    fatal = encode(picture(300, 300))
    host_device.fail = {fatal}
    warnings: list[str] = []

    pixels, refused = run(preprocessor(model, host_device, warn=warnings.append), [WHOLE] * 5 + [fatal, WHOLE])

    assert refused == {5}
    assert all(np.array_equal(pixels[0], pixels[row]) for row in (1, 2, 3, 4, 6))
    assert warnings == [
        "the GPU's decoder failed for an image, which the CPU decodes: "
        "RuntimeError('nvjpegDecodeBatched answered status 3')"
    ]


def test_decoder_that_fails_for_everything_leaves_it_to_the_cpu(model: Callable, host_device: Any) -> None:
    host_device.fail = {WHOLE}

    _, refused = run(preprocessor(model, host_device), [WHOLE, WHOLE, WHOLE])

    assert refused == {0, 1, 2}
