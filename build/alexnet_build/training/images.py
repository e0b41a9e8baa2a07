"""Photographs as uint8 tensors, decoded once and kept where the network runs.

In: a ``folders.Split``. Out: pixels, and for training the shape of each photograph. A data loader that decodes at
every epoch would leave a GPU waiting: AlexNet takes some twenty thousand images a second, a CPU core decodes a few
hundred. At 256x256 a thousand photographs take 200 MB; where they would fill half of the memory, they lie in a file
that is mapped into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from alexnet_build.errors import DataError
from alexnet_build.preprocessing import image_from_photograph, pixels_from_photograph
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


def square_photographs(
    split: Split, side: int, scratch: Path | None = None, *, processes: int = 1
) -> SquarePhotographs:
    """Decode a split for training.

    Args:
        split: The photographs.
        side: R, in pixels.
        scratch: Where a file is mapped from, if the pixels would fill half of this machine's memory.
        processes: How many processes of this machine do the same.

    Raises:
        DataError: Photographs that cannot be decoded.
    """
    pixels = _room_for((len(split), side, side, 3), scratch, processes)
    aspects = np.empty(len(split), np.float32)

    def decode(index: int) -> None:
        upright = image_from_photograph(split.paths[index])
        pixels[index] = upright.resize((side, side), Image.Resampling.BILINEAR)
        aspects[index] = upright.width / upright.height

    _decode_all(split.paths, decode)
    squeezed = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return SquarePhotographs(squeezed, torch.from_numpy(aspects), torch.tensor(split.targets))


def served_photographs(split: Split, size: int, resize_short_side: int) -> ServedPhotographs:
    """Decode a split for evaluation, with the very functions that the server runs; ``size`` is S, in pixels."""
    pixels = np.empty((len(split), size, size, 3), np.uint8)

    def decode(index: int) -> None:
        pixels[index] = pixels_from_photograph(split.paths[index], size, resize_short_side)

    _decode_all(split.paths, decode)
    return ServedPhotographs(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor(split.targets))


def _room_for(shape: tuple[int, ...], scratch: Path | None, processes: int) -> np.ndarray:
    """Uninitialised uint8 of a shape, in memory or, where that is scarce, in an unnamed file."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    count = int(np.prod(shape))
    if scratch is None or count * processes < memory / 2:
        return np.empty(shape, np.uint8)
    with TemporaryFile(dir=scratch) as file:
        os.posix_fallocate(file.fileno(), 0, count)  # a full disk is an error here, and a crash later
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _decode_all(paths: Sequence[Path], decode: Callable[[int], None]) -> None:
    """Decode on all cores (Pillow releases the interpreter lock); report every broken file at once."""

    def attempt(index: int) -> str | None:
        try:
            decode(index)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            return f"{paths[index]}: {error}"
        return None

    console = Console(stderr=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        attempts = pool.map(attempt, range(len(paths)))
        shown = track(
            attempts, "decoding", len(paths), console=console, transient=True, disable=not console.is_terminal
        )
        broken = [complaint for complaint in shown if complaint]
    if broken:
        listed = "\n  ".join(broken[:20] + [f"... and {len(broken) - 20} more"] * (len(broken) > 20))
        raise DataError(f"{len(broken)} of {len(paths)} photographs cannot be read; mend or delete them:\n  {listed}")
