"""The modules of the preprocess model, imported from its folder as the package that Triton makes of it.

In: a module's name. Called by the measurements of the GPU path.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parents[2] / "model_repository" / "preprocess" / "1"
PACKAGE = "preprocess_model"
CROP_SIZE, RESIZE_SHORT_SIDE = 224, 256


def model_module(name: str) -> ModuleType:
    """Import one of the model's modules."""
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(FOLDER)]  # type: ignore[attr-defined]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")


def open_device(**options: Any) -> Any:
    """Open the GPU as the model does; see cuda_device.CudaDevice for the options."""
    return model_module("cuda_device").CudaDevice(CROP_SIZE, **options)


def gpu_preprocessor(device: Any) -> Any:
    """Return the model's GPU path on a device."""
    return model_module("gpu_preprocessing").GpuPreprocessor(
        device, crop_size=CROP_SIZE, resize_short_side=RESIZE_SHORT_SIDE, warn=print
    )


def pixels_on_cpu(image: bytes) -> Any:
    """Return (S, S, 3) uint8, as the model's CPU path makes them."""
    return model_module("image_preprocessing").pixels_from_image(image, CROP_SIZE)
