"""Photographs to pixels that engines are compared on.

In: image files. Out: ``Views``. Called by ``engine`` and ``alexnet-build verify``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_build.errors import DataError
from alexnet_build.network import NetworkSpec
from alexnet_build.preprocessing import pixels_from_photograph

PHOTOGRAPHS = Path(__file__).parent.with_name("photographs")

#: With fewer photographs than this, further views are made of each: a share of first classes needs a hundred to mean
#: something to the percent.
ENOUGH = 100
#: More photographs are sampled evenly down to this: 15 ms each for torch on a core.
MOST = 1000
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
#: Of the crops; calibration draws others from the same photographs.
_SEED = 1


@dataclass(frozen=True)
class Views:
    """What engines are compared on.

    Attributes:
        pixels: (N, S, S, 3) uint8.
        names: What each row shows.
        targets: (N,) int64, the true class where the name of a photograph's folder is one of the labels, else -1.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def photographs_in(directory: Path) -> list[Path]:
    """The photographs of a folder and its subfolders, sorted.

    Raises:
        DataError: There are none.
    """
    found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise DataError(f"{directory} has no photographs to compare the engine on; give --photographs DIR")
    return found


def views_from_photographs(paths: Sequence[Path], spec: NetworkSpec) -> Views:
    """Decode photographs as the server does; where there are few, mirror, darken and crop them as well.

    Args:
        paths: At least one image file; of more than 1,000, as many are chosen evenly.
        spec: Names S, the short side before the crop, and the labels.

    Raises:
        DataError: A file is no image that can be read.
    """
    if len(paths) > MOST:
        paths = [paths[index * len(paths) // MOST] for index in range(MOST)]

    def decoded(path: Path) -> np.ndarray:
        try:
            return pixels_from_photograph(path, spec.image_size, spec.resize_short_side)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be compared on: {error}; mend it or take it away") from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        upright = np.stack(list(pool.map(decoded, paths)))
    places = {label: index for index, label in enumerate(spec.labels)}
    targets = np.array([places.get(path.parent.name, -1) for path in paths], np.int64)
    if len(paths) >= ENOUGH:
        return Views(upright, tuple(f"{path.parent.name}/{path.name}" for path in paths), targets)

    from alexnet_build.precision.calibration import random_crops

    crops = random_crops(paths, spec, max(ENOUGH, len(paths)), _SEED)
    names = [f"{path.name}{how}" for how in ("", " mirrored", " darkened") for path in paths]
    names += [f"{paths[index % len(paths)].name} crop {index // len(paths) + 1}" for index in range(len(crops))]
    pixels = np.ascontiguousarray(np.concatenate([upright, upright[:, :, ::-1], upright // 2, crops]))
    unknown = np.full(len(pixels) - len(paths), -1, np.int64)  # what a crop shows is anybody's guess
    return Views(pixels, tuple(names), np.concatenate([targets, unknown]))
