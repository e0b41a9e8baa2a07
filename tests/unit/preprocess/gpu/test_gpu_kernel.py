"""The kernel's bytes are Pillow's, whatever the size, the box and the orientation.

Pillow 13 resizes some upright images along the columns first, the kernel always along the rows; the rounding between
the two passes then differs by one level.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

KERNEL = Path(__file__).parents[4] / "model_repository" / "preprocess" / "1" / "crop_resize.cu"
MAX_TAPS = 256


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * 10_000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(
    model: Callable[[str], ModuleType], kernel: ctypes.CDLL, image: np.ndarray, box: tuple, orientation: int, side: int
) -> np.ndarray:
    """The kernel's crop of one image, in the second of two rows."""
    height, width, _ = image.shape
    row = (image.ctypes.data, image.strides[0], width, height, *box, orientation, 1)
    crops = np.array([row], model("gpu_preprocessing").CROP)
    assert crops.itemsize == kernel.crop_bytes()
    pixels = np.full((2, side, side, 3), 99, np.uint8)
    kernel.launch(
        crops.ctypes.data_as(ctypes.c_void_p), 1, pixels.ctypes.data_as(ctypes.c_void_p), side, MAX_TAPS
    )  # fmt: skip
    assert (pixels[0] == 99).all()
    return pixels[1]


def expected(preprocessing: ModuleType, image: np.ndarray, box: tuple, orientation: int, side: int) -> np.ndarray:
    crop = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=box)
    turn = preprocessing.TRANSPOSE_FROM_ORIENTATION.get(orientation)
    return np.asarray(crop if turn is None else crop.transpose(turn))


ROWS_FIRST = [
    (500, 375), (375, 500), (256, 256), (224, 224), (1, 1), (2, 1), (900, 3), (1000, 333), (60, 45), (4000, 3000),
]  # fmt: skip
COLUMNS_FIRST = [(257, 400), (3, 900)]


@pytest.mark.parametrize("size", ROWS_FIRST)
@pytest.mark.parametrize("side", [224, 227])
def test_bytes_are_pillows_for_every_size(
    model: Callable, kernel: ctypes.CDLL, preprocessing: ModuleType, size: tuple[int, int], side: int
) -> None:
    image = noise(*size)
    box = preprocessing.crop_box(*size, 1, 256, side)
    box = tuple(min(edge, limit) for edge, limit in zip(box, size * 2, strict=True))

    pixels = run(model, kernel, image, box, 1, side)

    assert np.array_equal(pixels, expected(preprocessing, image, box, 1, side))


@pytest.mark.parametrize("size", COLUMNS_FIRST)
def test_bytes_are_within_a_level_of_pillows_where_it_begins_with_the_columns(
    model: Callable, kernel: ctypes.CDLL, preprocessing: ModuleType, size: tuple[int, int]
) -> None:
    image = noise(*size)
    box = preprocessing.crop_box(*size, 1, 256, 224)

    pixels = run(model, kernel, image, box, 1, 224).astype(int)

    assert np.abs(pixels - expected(preprocessing, image, box, 1, 224)).max() <= 1


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (90, 60)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_bytes_are_pillows_for_every_orientation(
    model: Callable, kernel: ctypes.CDLL, preprocessing: ModuleType, size: tuple[int, int], orientation: int
) -> None:
    image = noise(*size)
    box = preprocessing.crop_box(*size, orientation, 256, 224)

    pixels = run(model, kernel, image, box, orientation, 224)

    assert np.array_equal(pixels, expected(preprocessing, image, box, orientation, 224))


@pytest.mark.parametrize("box", [(0, 0, 400, 300), (0.25, 0.75, 17.5, 9.125), (399, 299, 400, 300), (10, 20, 234, 244)])
def test_bytes_are_pillows_for_every_box(
    model: Callable, kernel: ctypes.CDLL, preprocessing: ModuleType, box: tuple
) -> None:
    image = noise(400, 300)

    assert np.array_equal(run(model, kernel, image, box, 1, 37), expected(preprocessing, image, box, 1, 37))


def test_lines_may_be_further_apart_than_they_are_long(
    model: Callable, kernel: ctypes.CDLL, preprocessing: ModuleType
) -> None:
    padded = noise(640, 375)
    image = padded[:, :500]
    box = preprocessing.crop_box(500, 375, 1, 256, 224)

    pixels = run(model, kernel, image, box, 1, 224)

    assert np.array_equal(pixels, expected(preprocessing, np.ascontiguousarray(image), box, 1, 224))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc, CUDA's compiler")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_120"])
def test_kernel_compiles_for_gpus_from_turing_to_blackwell(tmp_path: Path, architecture: str) -> None:
    command = ["nvcc", "-cubin", "--fmad=false", f"-arch={architecture}", "-Werror=all-warnings"]
    built = subprocess.run(
        [*command, "-o", str(tmp_path / "kernel.cubin"), str(KERNEL)], capture_output=True, text=True
    )

    assert built.returncode == 0, built.stderr
    assert b"crop_resize" in (tmp_path / "kernel.cubin").read_bytes()
