"""The server's own preprocessing, for the steps that need the pixels a network will see.

The functions live in ``model_repository/preprocess/1/`` because Triton runs them from there; training, calibration
and verification load the same file, so there is one way from a photograph to pixels.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_PACKAGE = Path(__file__).resolve().parent


def preprocess_model_directory() -> Path:
    """The folder of the ``preprocess`` model: beside the checkout's ``build/``, or inside an installed package."""
    in_checkout = _PACKAGE.parents[1] / "model_repository" / "preprocess"
    return in_checkout if in_checkout.is_dir() else _PACKAGE / "templates" / "preprocess"


@cache
def load_image_preprocessing() -> ModuleType:
    """The module of the ``preprocess`` model that makes pixels of encoded images."""
    path = preprocess_model_directory() / "1" / "image_preprocessing.py"
    specification = importlib.util.spec_from_file_location("image_preprocessing", path)
    if specification is None or specification.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def image_from_photograph(path: Path) -> Image.Image:
    """The whole of a photograph, upright, in mode RGB, decoded as the server does.

    Raises:
        ValueError: The file is no image that can be read.
    """
    from PIL import ImageOps

    return ImageOps.exif_transpose(load_image_preprocessing().decode(path.read_bytes())).convert("RGB")


def pixels_from_photograph(path: Path, size: int, resize_short_side: int) -> np.ndarray:
    """Decode a photograph as the server does.

    Args:
        path: An image file.
        size: Side S of the centre crop, in pixels.
        resize_short_side: The short side before the crop, in pixels.

    Returns:
        (S, S, 3) uint8, RGB.

    Raises:
        ValueError: The file is no image that can be read.
    """
    return load_image_preprocessing().pixels_from_image(path.read_bytes(), size, resize_short_side=resize_short_side)
