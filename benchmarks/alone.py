"""What the work costs without any server: the network, decoding and resizing, and both one after the other.

In: a network's file, JPEG files. Out: images per second, milliseconds. Called by serving.py.

The bound: an image needs (decoding time + network time) of the cores, so a server that wasted nothing would do
1 / (1 / decoded per second + 1 / classified per second) images a second, with both rates measured on all cores.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
from alexnet_build.preprocessing import pixels_from_photograph
from PIL import Image

MIN_RUNS = 3
#: What runs the network: in this project unless told otherwise, and in all others.
ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
RESIZE_SHORT_SIDE = 256
#: Megapixels of the images whose cost is measured, and the aspect that cameras have.
MEGAPIXELS = (0.05, 0.19, 0.8, 3, 12, 24, 48)
ASPECT = 4 / 3


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class NetworkAlone:
    """The network on all cores.

    Args:
        network: an ONNX file with PIXELS (N, S, S, 3) uint8.
        engine: what runs it, one of `ENGINES`.
    """

    def __init__(self, network: Path, engine: str) -> None:
        if engine == "openvino":
            hints = {"INFERENCE_NUM_THREADS": cores(), "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
            compiled = openvino.Core().compile_model(network, "CPU", hints)
            self._run = lambda pixels: compiled({"PIXELS": pixels}, share_inputs=True)["PROBABILITIES"]
            self.size: int = compiled.input(0).partial_shape[1].get_length()
        else:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = cores()
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
            self._run = lambda pixels: session.run(["PROBABILITIES"], {"PIXELS": pixels})[0]
            self.size = session.get_inputs()[0].shape[1]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Run (N, S, S, 3) uint8; returns (N, C) float32."""
        return self._run(pixels)

    def images_per_s(self, batch_size: int, seconds: float) -> float:
        """Classify noise in batches of one size for that time."""
        shape = (batch_size, self.size, self.size, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.probabilities(pixels)
        runs, begun_s = 0, time.perf_counter()
        while runs < MIN_RUNS or time.perf_counter() < begun_s + seconds:
            self.probabilities(pixels)
            runs += 1
        return runs * batch_size / (time.perf_counter() - begun_s)


def decoded_per_s(paths: list[Path], size: int, seconds: float) -> float:
    """Decode, resize and crop on all cores, a process each, for that time; returns images per second."""
    count = cores()
    context = multiprocessing.get_context("spawn")
    with context.Pool(count) as pool:
        pool.starmap(_decode_for, [(paths, size, 0.2)] * count, chunksize=1)  # warm-up
        return sum(pool.starmap(_decode_for, [(paths, size, seconds)] * count, chunksize=1))


def _decode_for(paths: list[Path], size: int, seconds: float) -> float:
    images, begun_s = 0, time.perf_counter()
    while time.perf_counter() < begun_s + seconds:
        pixels_from_photograph(paths[images % len(paths)], size, RESIZE_SHORT_SIDE)
        images += 1
    return images / (time.perf_counter() - begun_s)


def bound(decoded: float, classified: float) -> float:
    """Images per second of a server that wasted nothing, from both rates on all cores."""
    return 1 / (1 / decoded + 1 / classified)


def write_sizes(photograph: Path, folder: Path) -> dict[float, Path]:
    """Write a photograph as JPEG files of `MEGAPIXELS`; returns their paths by megapixels."""
    folder.mkdir(exist_ok=True)
    paths = {}
    with Image.open(photograph) as image:
        source = image.convert("RGB")
    for megapixels in MEGAPIXELS:
        height = round((megapixels * 1e6 / ASPECT) ** 0.5)
        encoded = io.BytesIO()
        source.resize((round(height * ASPECT), height), Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=90)
        paths[megapixels] = folder / f"{megapixels}.jpg"
        paths[megapixels].write_bytes(encoded.getvalue())
    return paths


def decode_s(path: Path, size: int, *, runs: int) -> float:
    """The fastest of some runs of decoding one file on one core, in seconds."""
    seconds = []
    for _ in range(runs):
        begun_s = time.perf_counter()
        pixels_from_photograph(path, size, RESIZE_SHORT_SIDE)
        seconds.append(time.perf_counter() - begun_s)
    return min(seconds)
