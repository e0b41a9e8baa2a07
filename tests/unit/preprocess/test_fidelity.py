"""The pixels are those of torchvision's AlexNet preset: resize 256, antialiased, and a centre crop.

With each of the two libraries that resize.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageOps

# Of 255, the mean over a photograph's pixels.
LIMIT = 1.0
SHARED_PHOTOGRAPHS = 200


@pytest.fixture(params=["cykooz-resizer", "Pillow"])
def preprocessing(
    preprocessing: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    if request.param == "Pillow":
        monkeypatch.setattr(preprocessing, "cykooz_resizer", None)
    elif preprocessing.cykooz_resizer is None:
        pytest.skip("no cykooz-resizer, whose wheels for Linux are of x86-64: pip install -e '.[embedded]'")
    return preprocessing


def preset_pixels(image: Image.Image, crop_size: int = 224) -> np.ndarray:
    """The preset up to its crop, (S, S, 3) uint8; its scaling and normalising are in the network's graph."""
    transforms = pytest.importorskip("torchvision.transforms")
    functional = transforms.functional
    bilinear = transforms.InterpolationMode.BILINEAR
    resized = functional.resize(image.convert("RGB"), [256], interpolation=bilinear, antialias=True)
    return np.asarray(functional.center_crop(resized, [crop_size]))


def mean_difference(preprocessing: ModuleType, image_bytes: bytes, crop_size: int = 224) -> float:
    pixels = preprocessing.pixels_from_image(image_bytes, crop_size).astype(int)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(image_bytes)))
    return float(np.abs(pixels - preset_pixels(upright, crop_size)).mean())


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def test_preset_of_the_weights_is_the_one_compared_with() -> None:
    torchvision = pytest.importorskip("torchvision")
    preset = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()

    assert preset.resize_size == [256]
    assert preset.crop_size == [224]
    assert preset.interpolation == torchvision.transforms.InterpolationMode.BILINEAR
    assert preset.antialias is True


@pytest.mark.parametrize("crop_size", [224, 227])
def test_pixels_are_the_presets_on_the_projects_photographs(
    preprocessing: ModuleType, photographs: list[Path], crop_size: int
) -> None:
    differences = {path.name: mean_difference(preprocessing, path.read_bytes(), crop_size) for path in photographs}

    assert differences
    assert max(differences.values()) <= LIMIT, differences


def test_pixels_are_the_presets_on_many_photographs(preprocessing: ModuleType, shared_data: Path) -> None:
    paths = sorted((shared_data / "flowers" / "val").rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // SHARED_PHOTOGRAPHS)]

    differences = {path.name: mean_difference(preprocessing, path.read_bytes()) for path in paths}

    assert len(differences) >= SHARED_PHOTOGRAPHS // 2
    assert max(differences.values()) <= LIMIT, max(differences, key=differences.__getitem__)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pixels_are_the_presets_on_large_jpegs_decoded_at_a_fraction(
    preprocessing: ModuleType, photographs: list[Path], factor: int
) -> None:
    with Image.open(photographs[0]) as photograph:
        small = photograph.convert("RGB").resize((600, 517))
        large = jpeg(small.resize((600 * factor, 517 * factor), Image.Resampling.LANCZOS))
    decoded = preprocessing.decode(large, draft_short_side=512)

    assert min(decoded.size) in range(512, 2 * 512 + 8)
    assert mean_difference(preprocessing, large) <= LIMIT


@pytest.mark.parametrize("size", [(256, 256), (224, 224), (257, 400), (1, 1), (3, 900), (900, 3), (1000, 333)])
def test_pixels_are_the_presets_for_odd_sizes(preprocessing: ModuleType, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")

    assert mean_difference(preprocessing, file.getvalue()) <= LIMIT


SIZES = [(500, 375), (375, 500), (256, 256), (224, 224), (1, 1), (2, 1), (900, 3), (3, 900), (257, 400), (4000, 3000)]


@pytest.mark.parametrize("preprocessing", ["cykooz-resizer"], indirect=True)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("side", [224, 227, 256])
@pytest.mark.parametrize("size", SIZES)
def test_resized_part_is_pillows_within_two_levels(
    preprocessing: ModuleType, size: tuple[int, int], side: int, mode: str
) -> None:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    box = preprocessing.crop_box(*size, 1, 256, side)
    box = tuple(min(edge, limit) for edge, limit in zip(box, size * 2, strict=True))

    square = preprocessing.resize_box(image, box, side)

    assert (square.mode, square.size) == (mode, (side, side))
    pillows = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    assert np.abs(np.asarray(square).astype(int) - np.asarray(pillows)).max() <= 2


def test_pillow_resizes_where_the_other_library_is_missing(
    load: Callable[[str], ModuleType], photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    without = load("image_preprocessing")

    assert without.cykooz_resizer is None
    assert mean_difference(without, photographs[0].read_bytes()) <= LIMIT
