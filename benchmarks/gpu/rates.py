"""How many JPEGs a second are decoded, cropped and resized on a GPU, without a server.

In: encoded images. Out: one dictionary of figures a measurement, as soon as it is there. Called by
preprocessing_gpu.py.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gpu.preprocess_model import gpu_preprocessor, open_device

BATCHES = (16, 64, 256)
#: How this project's use of nvJPEG is set.
SETTINGS: dict[str, dict[str, Any]] = {"nvJPEG, JPEG engines": {}, "nvJPEG, CUDA cores": {"engines": False}}

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


def decode_only(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """The model's decoder alone, images on the device and complete."""
    for setting, options in SETTINGS.items():
        device = open_device(**options)
        for size in (1, *BATCHES):
            images = batch_of(jpegs, size)

            def decode(device: Any = device, images: list[bytes] = images) -> None:
                decoded = device.decode(images)
                device.synchronize()
                assert None not in decoded, "an image was refused"

            yield decoding(setting, size, calls_per_s(decode, seconds) * size)


def decoding(setting: str, size: int, images_per_s: float) -> Figures:
    return {"what": "decode only", "setting": setting, "batch": size, "images_per_s": images_per_s}


def nvimgcodec_decode_only(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """NVImageCodec, for comparison, where it is installed."""
    import cupy
    from nvidia import nvimgcodec

    kinds, stream = nvimgcodec.BackendKind, cupy.cuda.Stream(non_blocking=False)
    pool = cupy.cuda.runtime.deviceGetDefaultMemPool(0)  # or each synchronisation gives its memory back to the driver
    cupy.cuda.runtime.memPoolSetAttribute(pool, cupy.cuda.runtime.cudaMemPoolAttrReleaseThreshold, 1 << 30)
    for load in (1.0, 0.8):
        backends = [nvimgcodec.Backend(kinds.HW_GPU_ONLY, load_hint=load), nvimgcodec.Backend(kinds.GPU_ONLY)]
        decoder = nvimgcodec.Decoder(max_num_cpu_threads=8, backends=backends)
        for size in BATCHES:
            images = batch_of(jpegs, size)

            def decode(decoder: Any = decoder, images: list[bytes] = images) -> list[Any]:
                decoded = decoder.decode(images, cuda_stream=stream.ptr)
                stream.synchronize()
                return decoded

            def find(decode: Callable[[], list[Any]] = decode) -> None:
                for image in decode():  # where a kernel finds the pixels
                    image.__cuda_array_interface__  # noqa: B018

            setting = f"nvImageCodec, engines {load}"
            yield decoding(setting, size, calls_per_s(decode, seconds) * size)
            yield decoding(f"{setting}, with addresses", size, calls_per_s(find, seconds) * size)


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

        yield decoding("torchvision", size, calls_per_s(decode, seconds) * size)


def whole_path(jpegs: Sequence[bytes], seconds: float) -> Iterator[Figures]:
    """The model's GPU path: headers, decoding, the kernel, complete; and copied to the host besides."""
    device = open_device()
    gpu = gpu_preprocessor(device)
    for size in (1, *BATCHES):
        images = batch_of(jpegs, size)

        def preprocess(images: list[bytes] = images) -> Any:
            return gpu(images, [gpu.header(image) for image in images])[0]

        def to_the_device(preprocess: Callable[[], Any] = preprocess) -> None:
            preprocess()
            device.synchronize()

        rate = calls_per_s(to_the_device, seconds) * size
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
