"""Photographs as uint8 tensors, decoded once and kept where the network runs.

In: a ``folders.Split``. Out: pixels, and for training the shape of each photograph. A data loader that decodes at
every epoch would leave a GPU waiting: AlexNet takes some twenty thousand images a second, a CPU core decodes a few
hundred. At 256x256 a thousand photographs take 200 MB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from alexnet_build.errors import DataError
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.training.folders import Split


@dataclass(frozen=True)
class SquarePhotographs:
    """Whole photographs, each squeezed into a square, to draw random crops from.

    Attributes:
        pixels: (M, 3, R, R) uint8, RGB.
        aspects: (M,) float32, width over height before the squeeze.
        targets: (M,) int64 class indices.
    """

    pixels: Tensor
    aspects: Tensor
    targets: Tensor


@dataclass(frozen=True)
class ServedPhotographs:
    """Photographs as the server's preprocessing hands them to the network.

    Attributes:
        pixels: (M, 3, S, S) uint8, RGB.
        targets: (M,) int64 class indices.
    """

    pixels: Tensor
    targets: Tensor


def square_photographs(split: Split, side: int) -> SquarePhotographs:
    """Decode a split for training; ``side`` is R, in pixels.

    Raises:
        DataError: Photographs that cannot be decoded, all of them named.
    """

    def decode(path: Path) -> tuple[np.ndarray, float]:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        squeezed = upright.resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(squeezed), upright.width / upright.height

    decoded = _decode_all(split.paths, decode)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in decoded])).permute(0, 3, 1, 2).contiguous()
    aspects = torch.tensor([aspect for _, aspect in decoded])
    return SquarePhotographs(pixels, aspects, torch.tensor(split.targets))


def served_photographs(split: Split, size: int, resize_short_side: int) -> ServedPhotographs:
    """Decode a split for evaluation, with the very functions that the server runs; ``size`` is S, in pixels."""
    decoded = _decode_all(split.paths, lambda path: pixels_from_photograph(path, size, resize_short_side))
    pixels = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous()
    return ServedPhotographs(pixels, torch.tensor(split.targets))


def _decode_all(paths: Sequence[Path], decode: Callable[[Path], Any]) -> list[Any]:
    """Decode on all cores (Pillow releases the interpreter lock); report every broken file at once."""

    def attempt(path: Path) -> Any:
        try:
            return decode(path)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            return DataError(f"{path}: {error}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = list(pool.map(attempt, paths))
    if broken := [str(result) for result in decoded if isinstance(result, DataError)]:
        listed = "\n  ".join(broken[:20])
        raise DataError(f"{len(broken)} of {len(paths)} photographs cannot be read; mend or delete them:\n  {listed}")
    return decoded
