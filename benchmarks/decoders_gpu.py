"""From JPEG files to pixels on a GPU: what the server uses, beside DALI and beside nvImageCodec with CV-CUDA.

    pip install -e . -r docker/requirements-server.txt psutil nvidia-nvimgcodec-cu13 cvcuda-cu13 nvidia-dali-cuda130
    python benchmarks/decoders_gpu.py --output decoders_gpu.jsonl      # two minutes
    python benchmarks/decoders_gpu.py --processes 4                    # besides: four at once, as servers have them

In: JPEGs of 500x375 and about 100 KB, in memory. Out: (N, 224, 224, 3) uint8, RGB, on the GPU and complete. Each side
makes one batch after the other in one process, and the sides take turns; one that is not installed is left out. There
is a table for each batch size: the median of the turns, the slowest and the fastest, how many processor cores were
busy, and how far the first batch's pixels are from this project's on average, of 255.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from figures import spread
from gpu.preprocess_model import CROP_SIZE, RESIZE_SHORT_SIDE, gpu_preprocessor, model_module, open_device
from gpu.rates import calls_per_s
from jpegs import SIZE, jpegs_from_photographs
from preprocessing_gpu import machine, version_of
from report import new_console, new_table

DECODER_THREADS = 8  # of nvImageCodec and of DALI, for what the JPEG engines leave
THIS_PROJECT = "this project"

Preprocess = Callable[[], Any]
# What opens a side, and what pip installs for it.
Sides = dict[str, tuple[Callable[[Sequence[bytes], int], Preprocess], str]]
Turn = tuple[float, float]  # images a second, processor cores busy
Turns = dict[str, list[Turn]]


def this_project(jpegs: Sequence[bytes], size: int) -> Preprocess:
    """The server's way: nvJPEG's batched API, and one kernel that crops and resizes."""
    gpu, batches = gpu_preprocessor(open_device()), batches_of(jpegs, size)

    def preprocess() -> Any:
        images = next(batches)
        pixels, _ = gpu(images, [gpu.header(image) for image in images])
        gpu.device.synchronize()
        return pixels

    return preprocess


def nvimgcodec_cvcuda(jpegs: Sequence[bytes], size: int) -> Preprocess:
    """The JPEG engines through nvImageCodec, and CV-CUDA's resizing of the same part of each image."""
    import cupy
    import cvcuda
    from nvidia import nvimgcodec

    batches, kinds, stream = batches_of(jpegs, size), nvimgcodec.BackendKind, cupy.cuda.Stream(non_blocking=True)
    backends = [nvimgcodec.Backend(kinds.HW_GPU_ONLY, load_hint=1.0), nvimgcodec.Backend(kinds.GPU_ONLY)]
    decoder = nvimgcodec.Decoder(max_num_cpu_threads=DECODER_THREADS, backends=backends)
    pool = cupy.cuda.runtime.deviceGetDefaultMemPool(0)  # or each synchronisation gives its memory back to the driver
    cupy.cuda.runtime.memPoolSetAttribute(pool, cupy.cuda.runtime.cudaMemPoolAttrReleaseThreshold, 1 << 30)
    left, upper, right, lower = model_module("image_preprocessing").crop_box(*SIZE, 1, RESIZE_SHORT_SIDE, CROP_SIZE)
    linear = {"antialias": True, "interpolation": cvcuda.Interp.LINEAR, "stream": cvcuda.as_stream(stream)}
    pixels = cupy.empty((size, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    rows = cvcuda.as_images(list(pixels), cvcuda.Format.RGB8)

    def preprocess() -> Any:
        decoded = decoder.decode(next(batches), cuda_stream=stream.ptr)
        images = cvcuda.as_images(decoded, cvcuda.Format.RGB8)
        cvcuda.hq_resize_into(rows, images, roi=[(upper, left, lower, right)], **linear)
        stream.synchronize()
        return pixels

    return preprocess


def dali(jpegs: Sequence[bytes], size: int, *, under_way: int, **load: float) -> Preprocess:
    """A pipeline of DALI with so many batches under way; a call returns the oldest of them, complete."""
    from nvidia.dali import fn, pipeline_def, types

    batches = batches_of([np.frombuffer(jpeg, np.uint8) for jpeg in jpegs], size)
    source = {"source": lambda: next(batches), "batch": True} if under_way > 1 else {"name": "jpegs"}
    linear = {"antialias": True, "interp_type": types.INTERP_LINEAR}
    # Of 341 - 224 pixels torchvision leaves 58 to the left: DALI would round the half pixel up, so it is told.
    place = {"crop_pos_x": 58 / 117, "crop_pos_y": 0.5}

    @pipeline_def(batch_size=size, num_threads=DECODER_THREADS, device_id=0, prefetch_queue_depth=under_way)
    def define() -> Any:
        encoded = fn.external_source(device="cpu", no_copy=True, dtype=types.UINT8, ndim=1, **source)
        images = fn.decoders.image(encoded, device="mixed", output_type=types.RGB, **load)
        return fn.crop(fn.resize(images, resize_shorter=RESIZE_SHORT_SIDE, **linear), crop=[CROP_SIZE] * 2, **place)

    pipeline = define()
    return lambda: (pipeline.run() if under_way > 1 else pipeline.run(jpegs=next(batches)))[0]


SIDES: Sides = {
    THIS_PROJECT: (this_project, "-r docker/requirements-server.txt"),
    "nvImageCodec and CV-CUDA": (nvimgcodec_cvcuda, "nvidia-nvimgcodec-cu13 cvcuda-cu13"),
    "DALI, a batch in and the same batch out": (partial(dali, under_way=1, hw_decoder_load=1.0), "nvidia-dali-cuda130"),
    "DALI, two batches under way": (partial(dali, under_way=2, hw_decoder_load=1.0), "nvidia-dali-cuda130"),
    "DALI as it comes": (partial(dali, under_way=2), "nvidia-dali-cuda130"),  # 0.65 of the images to the engines
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 64, 256], help="(16 64 256)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn (%(default)s)")
    parser.add_argument("--processes", type=int, default=0, help="measure this project in so many at once, too")
    parser.add_argument("--output", type=Path, help="file for the figures, one JSON object a line")
    options, sides, jpegs = parser.parse_args(), dict(SIDES), jpegs_from_photographs()
    more = {name: version_of(name) for name in ("cvcuda-cu13", "nvidia-dali-cuda130")}
    records = [{"what": "machine", **machine("cpu"), "gpu": open_device().name, **more}]
    for size in options.batch_sizes:
        table = new_table(f"batches of {size}", "images/s", "min", "max", "ratio", "cores busy", "pixels differ by")
        turns, differences = measure(sides, jpegs, size, options)
        base = statistics.median(rate for rate, _ in turns[THIS_PROJECT])
        for name, taken in turns.items():
            rates, cores = spread([rate for rate, _ in taken]), statistics.median(busy for _, busy in taken)
            figures = {"images_per_s": rates.p50, "min": rates.min, "max": rates.max, "ratio": rates.p50 / base}
            figures |= {"cores_busy": cores} | ({"difference": differences[name]} if name in differences else {})
            table.add_row(name, *(f"{value:,.0f}" if value > 100 else f"{value:.2f}" for value in figures.values()))
            records.append({"what": "rate", "side": name, "batch": size, **figures, "turns": taken})
        new_console().print(table)
    if options.output:
        options.output.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def batches_of(images: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """One batch after the other, without an end."""
    endless = cycle(images)
    return iter(lambda: list(islice(endless, size)), [])


def measure(sides: Sides, jpegs: Sequence[bytes], size: int, options: argparse.Namespace) -> tuple[Turns, dict]:
    """Each side's turns and its pixels' mean difference; takes a side that is not installed out of `sides`."""
    work = {}
    for name, (open_side, packages) in list(sides.items()):
        try:
            work[name] = open_side(jpegs, size)
        except ImportError as error:
            print(f"left out: {name} ({error}); next: pip install {packages}", file=sys.stderr)
            del sides[name]
    first = {name: host_pixels(preprocess()) for name, preprocess in work.items()}
    turns: Turns = {name: [] for name in work}
    for number in range(options.rounds):
        for name in list(turns)[:: -1 if number % 2 else 1]:  # who begins one round ends the next
            turns[name].append(turn(work[name], size, options.seconds))
    if options.processes:
        turns[f"{THIS_PROJECT}, {options.processes} processes"] = turns_of_processes(jpegs, size, options)
    return turns, {name: float(np.abs(pixels - first[THIS_PROJECT]).mean()) for name, pixels in first.items()}


def host_pixels(batch: Any) -> np.ndarray:
    """(N, 224, 224, 3) int, of CuPy's array or DALI's list."""
    return (batch.as_cpu().as_array() if hasattr(batch, "as_cpu") else batch.get()).astype(int)


def turn(preprocess: Preprocess, size: int, seconds: float) -> Turn:
    """Return images a second, and how many processor cores this process kept busy."""
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    images_per_s = calls_per_s(preprocess, seconds) * size
    return images_per_s, (time.process_time() - begun_cpu_s) / (time.perf_counter() - begun_s)


def turns_of_processes(jpegs: Sequence[bytes], size: int, options: argparse.Namespace) -> list[Turn]:
    """This project in several processes, which begin each turn together: the sums of their rates and cores."""
    count, spawn = options.processes, multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(count, spawn) as pool:
        begin = manager.Barrier(count, timeout=60)
        answers = [pool.submit(turns_together, jpegs, size, options, begin) for _ in range(count)]
        return np.sum([answer.result() for answer in answers], axis=0).tolist()


def turns_together(jpegs: Sequence[bytes], size: int, options: argparse.Namespace, begin: Any) -> list[Turn]:
    """The turns of one of several processes; `begin` is their barrier."""
    preprocess = this_project(jpegs, size)
    return [(begin.wait(), turn(preprocess, size, options.seconds))[1] for _ in range(options.rounds)]


if __name__ == "__main__":
    main()
