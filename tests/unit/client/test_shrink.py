"""What the network sees of a shrunk image is what it sees of the whole one."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from alexnet_build.preprocessing import load_image_preprocessing
from alexnet_client import Classifier, InvalidImage, InvalidSetting
from alexnet_client import _calls as calls
from alexnet_client._images import image_bytes_from, png_from_pixels
from alexnet_client._shrink import shrunk_file_from, shrunk_image_bytes
from PIL import Image

WIDTH, HEIGHT = 1600, 1100
ORIENTATION = 0x0112


def picture(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Colours that change from left to right and from top to bottom, with noise, so that a turn would be seen."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)], axis=2)
    noise = np.random.default_rng(3).integers(-20, 21, (height, width, 1))
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)  # type: ignore[arg-type]
    return target.getvalue()


def seen(image_bytes: bytes) -> np.ndarray:
    """What the server's `preprocess` makes of a file, (224, 224, 3)."""
    return load_image_preprocessing().pixels_from_image(image_bytes, 224).astype(int)


def opened(image_bytes: bytes) -> Image.Image:
    with Image.open(io.BytesIO(image_bytes)) as image:
        image.load()
        return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_large_file_becomes_a_small_upright_jpeg_that_the_server_sees_alike(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    large = file_of(picture(), kind, exif=exif, quality=92)
    shrunk = shrunk_image_bytes(large)
    image = opened(shrunk)
    assert image.format == "JPEG"
    assert image.size == ((800, 550) if orientation < 5 else (550, 800))
    assert dict(image.getexif()) == {}
    assert len(shrunk) < len(large) / 2
    assert np.abs(seen(shrunk) - seen(large)).mean() < 1.0  # of 255; a picture that is turned differs by 60 and more


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK"])
def test_colours_become_what_the_server_makes_of_them(mode: str) -> None:
    image = picture().convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(0)  # invisible, and yet the server sees the colours
    large = file_of(image, "TIFF")
    shrunk = shrunk_image_bytes(large)
    assert opened(shrunk).format == "JPEG"
    assert opened(shrunk).mode == ("L" if mode == "L" else "RGB")
    assert np.abs(seen(shrunk) - seen(large)).mean() < 1.5


def test_palette_with_a_transparent_entry_is_shrunk_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    large = file_of(picture().convert("P"), "PNG", transparency=b"\x00" * 10)
    assert np.abs(seen(shrunk_image_bytes(large)) - seen(large)).mean() < 1.0
    assert not recwarn.list


def test_panorama_keeps_its_aspect() -> None:
    assert opened(shrunk_image_bytes(file_of(picture(5000, 1100), "JPEG"))).size == (2500, 550)


@pytest.mark.parametrize(
    "image_bytes",
    [
        pytest.param(file_of(picture(3000, 1023), "JPEG"), id="short side below the limit"),
        pytest.param(file_of(Image.new("RGB", (4000, 3000)), "PNG"), id="few bytes"),
        pytest.param(file_of(picture(), "JPEG", quality=95)[:90_000], id="truncated"),
        pytest.param(b"\x89PNG" + bytes(100_000), id="damaged header"),
        pytest.param(b"no image" * 20_000, id="no image"),
        pytest.param(file_of(picture(), "PPM"), id="a format that the server does not decode"),
        pytest.param(
            file_of(Image.fromarray(np.random.default_rng(1).integers(0, 65536, (1100, 1600), np.uint16)), "PNG"),
            id="16-bit grey",
        ),
        pytest.param(file_of(picture(), "JPEG", quality=5), id="already smaller than its shrunk self"),
    ],
)
def test_image_that_is_better_left_alone_is_sent_byte_for_byte(image_bytes: bytes) -> None:
    assert shrunk_image_bytes(image_bytes) is image_bytes


def test_array_is_shrunk_without_becoming_a_png_first() -> None:
    pixels = np.asarray(picture())
    shrunk = shrunk_file_from(pixels)
    assert shrunk is not None
    assert opened(shrunk).size == (800, 550)
    assert np.abs(seen(shrunk) - seen(png_from_pixels(pixels))).mean() < 1.0
    grey = shrunk_file_from(pixels[..., :1])
    assert grey is not None
    assert opened(grey).mode == "L"


def test_array_of_another_kind_is_still_refused() -> None:
    with pytest.raises(InvalidImage, match="float32"):
        image_bytes_from(np.zeros((2000, 2000, 3), np.float32), smaller_file_from=shrunk_file_from)


def test_pil_image_is_shrunk_and_not_changed() -> None:
    image = picture()
    image.getexif()[ORIENTATION] = 6
    shrunk = shrunk_file_from(image)
    assert shrunk is not None
    assert opened(shrunk).size == (550, 800)
    assert image.size == (WIDTH, HEIGHT)
    assert image.getexif()[ORIENTATION] == 6


def test_small_pil_image_is_sent_losslessly() -> None:
    image = picture(90, 50)
    sent = image_bytes_from(image, smaller_file_from=shrunk_file_from)
    assert np.array_equal(np.asarray(opened(sent)), np.asarray(image))


def test_damaged_pil_image_is_invalid() -> None:
    cut = file_of(picture(), "PNG")[:90_000]
    with Image.open(io.BytesIO(cut)) as image, pytest.raises(InvalidImage, match="cannot be saved"):
        image_bytes_from(image, smaller_file_from=shrunk_file_from)


def test_classifier_shrinks_only_when_asked(transport) -> None:  # type: ignore[no-untyped-def]
    large = file_of(picture(), "JPEG")
    Classifier(transport=transport).classify(large)
    Classifier(transport=transport, shrink=True).classify(large)
    plain, shrunk = (call.image_bytes for call in transport.sent if isinstance(call, calls.Infer))
    assert plain == large
    assert shrunk == shrunk_image_bytes(large) != large


def test_missing_pillow_is_refused_when_the_classifier_is_made(transport, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("alexnet_client._shrink.find_spec", lambda name: None if name == "PIL" else find_spec(name))
    with pytest.raises(InvalidSetting) as caught:
        Classifier(transport=transport, shrink=True)
    assert caught.value.message == "shrink=True needs Pillow, which is not installed"
    assert caught.value.hint == "Install it with: pip install 'pillow>=11,<14'"
