"""Where an image's time goes before it reaches the network, on one core; and what threads and processes make of it.

    python benchmarks/preprocessing.py                # half a minute
    python benchmarks/preprocessing.py --spread       # besides: processes times threads, on all cores

The steps are those of model_repository/preprocess/1/image_preprocessing.py on JPEG files of 500x375 pixels. Beside them
stand other ways to do the same, where their packages are installed (pip install simplejpeg). Results are on stdout.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from alexnet_build.preprocessing import load_image_preprocessing
from figures import spread
from jpegs import jpegs_from_photographs
from PIL import Image
from report import new_console, new_table

ROUNDS = 30
CROP_SIZE, RESIZE_SHORT_SIDE = 224, 256
SPREAD_SECONDS = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", action="store_true", help="also measure processes times threads on all cores")
    options = parser.parse_args()
    jpegs = jpegs_from_photographs()
    console = new_console()

    table = new_table("one image on one core", "microseconds", "min", "max")
    for name, step in steps(jpegs).items():
        each = spread([microseconds(step, jpegs) for _ in range(ROUNDS)])
        table.add_row(name, *(f"{value:.0f}" for value in (each.p50, each.min, each.max)))
    console.print(table)

    if options.spread:
        table = new_table("all cores, processes x threads of each", "images/s")
        for processes, threads in spreads(len(os.sched_getaffinity(0))):
            table.add_row(f"{processes} x {threads}", f"{images_per_s(processes, threads):.0f}")
        console.print(table)
    return 0


def steps(jpegs: list[bytes]) -> dict[str, Callable[[bytes], object]]:
    """Name each step, alone, and the whole of them."""
    functions = load_image_preprocessing()
    pixels = np.empty((CROP_SIZE, CROP_SIZE, 3), np.uint8)
    decoded = {jpeg: functions.decode(jpeg) for jpeg in jpegs}
    crops = {jpeg: image.resize((CROP_SIZE, CROP_SIZE)) for jpeg, image in decoded.items()}

    def box(jpeg: bytes) -> tuple[float, float, float, float]:
        return functions.crop_box(*decoded[jpeg].size, 1, RESIZE_SHORT_SIDE, CROP_SIZE)

    def crop(jpeg: bytes) -> Image.Image:
        return functions.resize_box(decoded[jpeg], box(jpeg), CROP_SIZE)

    def crop_with_pillow(jpeg: bytes) -> Image.Image:
        return decoded[jpeg].resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR, box=box(jpeg))

    def write(jpeg: bytes) -> None:
        pixels[...] = np.asarray(crops[jpeg])

    measured: dict[str, Callable[[bytes], object]] = {
        "read the header": functions.open_image,
        "decode (header included)": functions.decode,
        "orientation": lambda jpeg: functions.read_orientation(decoded[jpeg]),
        "resize the crop": crop,
        "write into the batch": write,
        "all of it": lambda jpeg: functions.preprocess_into(jpeg, pixels),
        "resize the crop with Pillow": crop_with_pillow,
        "torchvision's preset with Pillow": lambda jpeg: preset(jpeg),
    }
    if importlib.util.find_spec("simplejpeg"):
        import simplejpeg

        measured["decode with simplejpeg"] = lambda jpeg: simplejpeg.decode_jpeg(jpeg, "RGB")
    return measured


def preset(jpeg: bytes) -> Image.Image:
    """Resize the whole image, then crop, as transforms do that are written down one after the other."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    scale = RESIZE_SHORT_SIDE / min(image.size)
    resized = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    left, upper = (resized.width - CROP_SIZE) // 2, (resized.height - CROP_SIZE) // 2
    return resized.crop((left, upper, left + CROP_SIZE, upper + CROP_SIZE))


def microseconds(step: Callable[[bytes], object], jpegs: list[bytes]) -> float:
    """Time a step on every image; returns the mean."""
    begun_s = time.perf_counter()
    for jpeg in jpegs:
        step(jpeg)
    return (time.perf_counter() - begun_s) / len(jpegs) * 1e6


def spreads(cores: int) -> list[tuple[int, int]]:
    """Return the ways to share the cores: processes, and threads of each."""
    return [(processes, cores // processes) for processes in (1, 2, 4, 8, 16, 32) if processes <= cores]


def images_per_s(processes: int, threads: int) -> float:
    """Preprocess on so many threads of so many processes for `SPREAD_SECONDS`."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.starmap(preprocess_for, [(threads, 0.2)] * processes, chunksize=1)  # warm-up
        return sum(pool.starmap(preprocess_for, [(threads, SPREAD_SECONDS)] * processes, chunksize=1))


def preprocess_for(threads: int, seconds: float) -> float:
    """One process's share: images per second of its threads."""
    jpegs, functions = jpegs_from_photographs(), load_image_preprocessing()

    def work() -> int:
        pixels = np.empty((CROP_SIZE, CROP_SIZE, 3), np.uint8)
        images, end_s = 0, time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            functions.preprocess_into(jpegs[images % len(jpegs)], pixels)
            images += 1
        return images

    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result() for future in [pool.submit(work) for _ in range(threads)]) / seconds


if __name__ == "__main__":
    sys.exit(main())
