"""Whether the GPU path's pixels are right, once and again: fidelity to the CPU path, and a long hunt for corruption.

In: encoded images. Out: dictionaries of figures. Called by preprocessing_gpu.py.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu.preprocess_model import gpu_preprocessor, model_module, open_device, pixels_on_cpu
from gpu.rates import SETTINGS
from PIL import Image

BATCH = 64
#: Batches of one process on the GPU at once, which the config's GPU_BATCHES can ask for.
LANES = 2
#: An image whose bytes differ by so much in the mean is another image, not another rounding; of 255.
CORRUPT_MEAN = 1.0
#: Side of the matrices whose products keep the GPU busy beside the decoder.
LOAD_SIDE = 4096


def gpu_header(image: bytes) -> Any:
    return model_module("jpeg_header").gpu_header(image)


def variants(jpegs: Sequence[bytes]) -> list[bytes]:
    """The images themselves, and smaller, larger and grey ones: memory is reused at other sizes."""
    images = list(jpegs)
    for number, (side, options) in enumerate(
        [(120, {}), (333, {"subsampling": 0}), (800, {"quality": 60}), (1500, {"restart_marker_blocks": 8}), (2400, {})]
    ):
        with Image.open(io.BytesIO(jpegs[number % len(jpegs)])) as image:
            for mode in ("RGB", "L"):
                file = io.BytesIO()
                image.convert(mode).resize((side, side * 3 // 4)).save(file, "JPEG", **options)
                images.append(file.getvalue())
    return images


def fidelity(jpegs: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Differences from the CPU path, of 255, over images; by the engines and by CUDA's cores."""
    images = [image for image in variants(jpegs) if gpu_header(image)]
    expected = np.stack([pixels_on_cpu(image) for image in images]).astype(int)
    for setting, options in SETTINGS.items():
        device = open_device(**options)
        gpu = gpu_preprocessor(device)
        pixels, refused = gpu(images, [gpu.header(image) for image in images])
        done = [row for row in range(len(images)) if row not in refused]
        differences = np.abs(device.host_copy(pixels).astype(int)[done] - expected[done])
        means = differences.mean(axis=(1, 2, 3))
        yield {
            "what": "fidelity", "setting": setting, "images": len(done), "refused": sorted(refused),
            "mean": float(means.mean()), "worst_mean": float(means.max()), "largest": int(differences.max()),
        }  # fmt: skip


@dataclass
class Found:
    """What became of some batches; a differing image has another byte somewhere, a corrupt one is another image."""

    images: int = 0
    refused: int = 0
    differing: int = 0
    corrupt: int = 0
    largest_difference: int = 0


def corruption(jpegs: Sequence[bytes], batches: int) -> Iterator[dict[str, Any]]:
    """Batches of random composition, two at once, each compared with the known answers; half beside other work."""
    import torch

    images = [image for image in variants(jpegs) if gpu_header(image)]
    gpus = [gpu_preprocessor(open_device()) for _ in range(LANES)]
    known, taken = [], []
    for image in images:  # one at a time, each complete before the next begins
        pixels, refused = gpus[0]([image], [gpu_header(image)])
        host = gpus[0].device.host_copy(pixels)
        assert np.abs(host[0].astype(int) - pixels_on_cpu(image)).mean() <= 2, "no known answer"
        if not refused:
            taken.append(image)
            known.append(torch.from_numpy(host[0].copy()))
    answers = torch.stack(known).cuda()
    torch.cuda.synchronize()
    with ThreadPoolExecutor(LANES) as threads:
        found = list(
            threads.map(
                lambda lane: hunt(gpus[lane], taken, answers, batches=batches // LANES, seed=lane), range(LANES)
            )
        )
    yield {
        "what": "corruption", "batches": batches // LANES * LANES, "lanes": LANES,
        "images": sum(f.images for f in found), "refused": sum(f.refused for f in found),
        "differing": sum(f.differing for f in found), "corrupt": sum(f.corrupt for f in found),
        "largest_difference": max(f.largest_difference for f in found),
    }  # fmt: skip


def hunt(gpu: Any, images: Sequence[bytes], answers: Any, *, batches: int, seed: int) -> Found:
    """One lane's batches, each compared with `answers`, (M, S, S, 3) uint8 on the GPU, one for each of the images."""
    import torch

    headers = [gpu.header(image) for image in images]
    chance = np.random.default_rng(seed)
    side = torch.cuda.Stream()
    matrix = torch.randn(LOAD_SIDE, LOAD_SIDE, device="cuda", dtype=torch.float16)
    torch.cuda.synchronize()
    found = Found()
    for turn in range(batches):
        size = int(chance.integers(1, BATCH + 1))
        picks = chance.integers(0, len(images), size)
        if turn % 2:
            with torch.cuda.stream(side):
                for _ in range(6):
                    matrix @ matrix
        pixels, refused = gpu([images[pick] for pick in picks], [headers[pick] for pick in picks])
        gpu.device.synchronize()
        expected = answers[torch.from_numpy(picks).cuda()]
        difference = (torch.from_dlpack(pixels).short() - expected.short()).abs()
        means = difference.float().mean(dim=(1, 2, 3)).cpu().numpy()
        kept = [row for row in range(size) if row not in refused]
        found.images += len(kept)
        found.refused += len(refused)
        found.differing += int((means[kept] > 0).sum())
        found.corrupt += int((means[kept] > CORRUPT_MEAN).sum())
        found.largest_difference = max(found.largest_difference, int(difference.max()))
    return found
