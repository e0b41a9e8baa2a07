"""Whether the GPU path's pixels are right, once and again: fidelity to the CPU path, and a long hunt for corruption.

In: encoded images. Out: dictionaries of figures. Called by preprocessing_gpu.py.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gpu.preprocess_model import gpu_preprocessor, model_module, open_device, pixels_on_cpu
from gpu.rates import SETTINGS
from PIL import Image

BATCH = 64
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


def corruption(jpegs: Sequence[bytes], batches: int) -> Iterator[dict[str, Any]]:
    """Batches of random composition, each compared with the known answers; every other one beside other work."""
    import torch

    images = [image for image in variants(jpegs) if gpu_header(image)]
    device = open_device()
    gpu = gpu_preprocessor(device)
    headers = [gpu.header(image) for image in images]
    known, taken = [], []
    for number, image in enumerate(images):  # one at a time, each complete before the next begins
        pixels, refused = gpu([image], [headers[number]])
        assert np.abs(device.host_copy(pixels)[0].astype(int) - pixels_on_cpu(image)).mean() <= 2, "no known answer"
        if not refused:
            taken.append(number)
            known.append(torch.from_dlpack(pixels)[0].clone())
            torch.cuda.synchronize()  # before the next image's pixels take this one's memory
    answers = torch.stack(known)

    chance = np.random.default_rng(0)
    side = torch.cuda.Stream()
    matrix = torch.randn(LOAD_SIDE, LOAD_SIDE, device="cuda", dtype=torch.float16)
    torch.cuda.synchronize()
    done = refused_images = differing = corrupt = largest = 0
    for turn in range(batches):
        size = int(chance.integers(1, BATCH + 1))
        picks = chance.integers(0, len(taken), size)
        if turn % 2:
            with torch.cuda.stream(side):
                for _ in range(6):
                    matrix @ matrix
        numbers = [taken[pick] for pick in picks]
        pixels, refused = gpu([images[number] for number in numbers], [headers[number] for number in numbers])
        expected = answers[torch.from_numpy(picks).cuda()]
        difference = (torch.from_dlpack(pixels).short() - expected.short()).abs()
        means = difference.float().mean(dim=(1, 2, 3)).cpu().numpy()
        kept = [row for row in range(size) if row not in refused]
        done += len(kept)
        refused_images += len(refused)
        differing += int((means[kept] > 0).sum())
        corrupt += int((means[kept] > CORRUPT_MEAN).sum())
        largest = max(largest, int(difference.max()))
    yield {
        "what": "corruption", "batches": batches, "images": done, "refused": refused_images,
        "differing": differing, "corrupt": corrupt, "largest_difference": largest,
    }  # fmt: skip
