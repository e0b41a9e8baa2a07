"""JPEG files of a known size in pixels and bytes, from the photographs that the project carries.

In: a folder of photographs. Out: encoded images of about 500x375 pixels and 110 KB, which is what ImageNet's
photographs are. Called by the measurements; the same files each time.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

PHOTOGRAPHS = Path(__file__).parents[1] / "build" / "alexnet_build" / "photographs"
SIZE = (500, 375)  # width, height: the most frequent size in ImageNet
TARGET_BYTES = 110_000  # ImageNet's mean file
#: Parts of a photograph: share of width and height, and where that lies (0 left or top, 1 right or bottom).
VIEWS = ((1.0, (0.5, 0.5)), (0.8, (0.0, 0.0)), (0.8, (1.0, 1.0)))


def write_jpegs(folder: Path) -> list[Path]:
    """Write `jpegs_from_photographs` into a new folder and return their paths."""
    folder.mkdir()
    paths = []
    for number, jpeg in enumerate(jpegs_from_photographs()):
        paths.append(folder / f"{number:02}.jpg")
        paths[-1].write_bytes(jpeg)
    return paths


def jpegs_from_photographs(folder: Path = PHOTOGRAPHS) -> list[bytes]:
    """Return three views of every photograph as JPEG files of `SIZE` and about `TARGET_BYTES`.

    Raises:
        FileNotFoundError: the folder has no JPEG files.
    """
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise FileNotFoundError(f"no *.jpg in {folder}")
    return [jpeg_of_size(view(path, share, centering), TARGET_BYTES) for path in paths for share, centering in VIEWS]


def view(path: Path, share: float, centering: tuple[float, float]) -> Image.Image:
    """Return a part of a photograph, RGB, `SIZE`."""
    with Image.open(path) as image:
        photograph = image.convert("RGB")
    width, height = round(photograph.width * share), round(photograph.height * share)
    left = round((photograph.width - width) * centering[0])
    upper = round((photograph.height - height) * centering[1])
    part = photograph.crop((left, upper, left + width, upper + height))
    return ImageOps.fit(part, SIZE, Image.Resampling.LANCZOS, centering=centering)


def jpeg_of_size(image: Image.Image, target_bytes: int) -> bytes:
    """Encode with the quality, 1 to 100, whose file is nearest to ``target_bytes``."""

    def encode(quality: int) -> bytes:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return file.getvalue()

    low, high = 1, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(encode(middle)) < target_bytes else (low, middle)
    return min(encode(low), encode(high), key=lambda file: abs(len(file) - target_bytes))
