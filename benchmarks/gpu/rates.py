"""How many JPEGs a second are decoded, cropped and resized on a GPU, without a server.

In: encoded images. Out: one dictionary of figures a measurement, as soon as it is there. Called by
preprocessing_gpu.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gpu.preprocess_model import gpu_preprocessor, open_device

BATCHES = (16, 64, 256)
#: The decoder's settings that are compared: share of the hardware's engines, CPU threads, decoders side by side.
SETTINGS: dict[str, dict[str, Any]] = {
    "engines alone": {"hardware_load": 1.0, "threads": 4},
    "engines 0.8, the rest by CUDA": {"hardware_load": 0.8, "threads": 8},
    "no engines": {"hardware_load": 0.0, "threads": 8},
    "engines alone, two decoders": {"hardware_load": 1.0, "threads": 4, "decoders": 2},
}

Figures = dict[str, Any]


def batch_of(jpegs: Sequence[bytes], size: int) -> list[bytes]:
    """Return so many images, the same ones again where there are fewer."""
    return list(itertools.islice(itertools.cycle(jpegs), size))


def calls_per_s(work: Callable[[], object], seconds: float) -> float:
    """Call something for that long, after three calls that do not count."""
    for _ in range(3):
        work()
    begun = time.perf_counter()
    calls = 0
    while (elapsed := time.perf_counter() - begun) < seconds:
        work()
        calls += 1
    return calls / elapsed


def together_per_s(works: Sequence[Callable[[], object]], seconds: float) -> float:
    """Call several things for that long, each on a thread of its own."""
    rates = [0.0] * len(works)

    def measure(number: int) -> None:
        rates[number] = calls_per_s(works[number], seconds)

    threads = [threading.Thread(target=measure, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def decode_only(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """NVImageCodec alone, images on the device and complete."""
    for setting, options in SETTINGS.items():
        options = dict(options)
        devices = [open_device(**options) for _ in range(options.pop("decoders", 1))]
        for size in BATCHES:
            images = batch_of(jpegs, size)

            def decode(device: Any, images: list[bytes] = images) -> None:
                decoded = device.decode(images)
                device.synchronize()
                assert None not in decoded, "an image was refused"

            works = [lambda device=device, decode=decode: decode(device) for device in devices]
            rate = together_per_s(works, seconds) * size
            yield {"what": "decode only", "setting": setting, "batch": size, "images_per_s": rate}


def torchvision_decode_only(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """The nvJPEG of torchvision, for comparison, where it is installed."""
    import torch
    from torchvision.io import decode_jpeg

    encoded = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
    for size in BATCHES:
        images = list(itertools.islice(itertools.cycle(encoded), size))

        def decode(images: list[torch.Tensor] = images) -> None:
            decode_jpeg(images, device="cuda")
            torch.cuda.synchronize()

        rate = calls_per_s(decode, seconds) * size
        yield {"what": "decode only", "setting": "torchvision", "batch": size, "images_per_s": rate}


def whole_path(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """The model's GPU path: headers, decoding, the kernel, complete; and copied to the host besides."""
    device = open_device(threads=4)
    gpu = gpu_preprocessor(device)
    for size in (1, *BATCHES):
        images = batch_of(jpegs, size)

        def preprocess(images: list[bytes] = images) -> Any:
            return gpu(images, [gpu.header(image) for image in images])[0]

        rate = calls_per_s(preprocess, seconds) * size
        yield {"what": "decode and kernel", "setting": "to the device", "batch": size, "images_per_s": rate}
        rate = calls_per_s(lambda preprocess=preprocess: device.host_copy(preprocess()), seconds) * size
        yield {"what": "decode and kernel", "setting": "to the host", "batch": size, "images_per_s": rate}
    begun = time.perf_counter()
    for image in batch_of(jpegs, 2000):
        gpu.header(image)
    rate = 2000 / (time.perf_counter() - begun)
    yield {"what": "headers", "setting": "one CPU thread", "batch": 1, "images_per_s": rate}


class KeepCrops:
    """A device that remembers the kernel's arguments, so that the kernel can be run again alone."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.decoded: list[Any] = []
        self.arguments: tuple = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)

    def decode(self, jpegs: Sequence[bytes]) -> list[Any]:
        self.decoded = self.device.decode(jpegs)
        return self.decoded

    def crop_resize(self, crops: np.ndarray, pixels: Any, max_taps: int) -> None:
        self.arguments = (crops, pixels, max_taps)
        self.device.crop_resize(crops, pixels, max_taps)


def kernel_alone(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """The kernel on images that are decoded already."""
    device = KeepCrops(open_device())
    gpu = gpu_preprocessor(device)
    for size in BATCHES:
        images = batch_of(jpegs, size)
        gpu(images, [gpu.header(image) for image in images])

        def launch() -> None:
            device.crop_resize(*device.arguments)
            device.synchronize()

        rate = calls_per_s(launch, seconds) * size
        yield {"what": "kernel alone", "setting": "500x375 to 224", "batch": size, "images_per_s": rate}
