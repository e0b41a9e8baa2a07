"""Preprocessing on a GPU: how fast it decodes, crops and serves, and whether every pixel is right.

    pip install -e '.[build,embedded]' -r docker/requirements-server.txt psutil
    python benchmarks/preprocessing_gpu.py --output preprocessing_gpu.jsonl --assert-targets     # three minutes
    python benchmarks/preprocessing_gpu.py --parts serving --device cpu --seconds 2              # without a GPU

Each part prints its figures as it has them, one JSON object a line, and a part that fails leaves the others:

* decode: nvJPEG alone, on JPEG engines and on CUDA cores; nvImageCodec and torchvision where they are installed
* path: headers, decoding and the kernel together; and the kernel alone
* fidelity: the pixels against the CPU path's
* corruption: 1,200 batches of random composition, two at once, against known answers, half beside other work on the GPU
* serving: end to end on the embedded Triton, where torch stands in for the TensorRT plan

Targets: 10,000 images/s end to end, 0.8 of the decode-only rate of the same run in batches as large as those that are
served, 4 ms median latency for one request at a time, and no corrupt image. A table is on stdout at the end, progress
on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jpegs import jpegs_from_photographs, write_jpegs
from machine import processor_name

PARTS = ("decode", "path", "fidelity", "corruption", "serving")
PACKAGES = ("nvidia-nvimgcodec-cu13", "nvidia-nvjpeg", "cupy-cuda13x", "torch", "numpy", "pillow", "nvidia-pytriton")
MIN_IMAGES_PER_S = 10_000
MIN_SHARE_OF_DECODING = 0.8
MAX_P50_MS = 4.0

Figures = dict[str, Any]


def main() -> int:
    options = parse_options()
    results = Results(options.output)
    results.add({"what": "machine", **machine(options.device)})
    jpegs = jpegs_from_photographs()
    for part in options.parts:
        begun = time.monotonic()
        try:
            for figures in measurements(part, jpegs, options):
                results.add(figures)
        except Exception as fault:  # the other parts still count
            traceback.print_exc()
            results.add({"what": part, "error": f"{type(fault).__name__}: {fault}"[:2000]})
        print(f"{part}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print_table(results.all)
    missed = targets_missed(results.all, options.parts)
    for sentence in missed:
        print(f"target missed: {sentence}", file=sys.stderr)
    failed = any("error" in figures for figures in results.all)
    return 1 if options.assert_targets and (missed or failed) else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (all)")
    parser.add_argument(
        "--device", choices=("gpu", "cpu"), default="gpu", help="of serving: cpu tries it without a GPU"
    )
    parser.add_argument("--seconds", type=float, default=4.5, help="of each question to the server (%(default)s)")
    parser.add_argument("--rate-seconds", type=float, default=0.5, help="of each rate without a server (%(default)s)")
    parser.add_argument("--batches", type=int, default=1200, help="of the hunt for corruption (%(default)s)")
    parser.add_argument("--instances", type=int, nargs="+", default=[2, 4], help="preprocess processes (%(default)s)")
    parser.add_argument("--perf-analyzer", type=Path, help="NVIDIA's program; fetched with pip if not given")
    parser.add_argument("--generator-cores", type=int, default=0, help="cores for it alone; 0: a third of them")
    parser.add_argument("--output", type=Path, help="file for the figures, one JSON object a line")
    parser.add_argument("--logs", type=Path, help="folder for the servers' logs")
    parser.add_argument("--assert-targets", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


class Results:
    """The figures so far: on stdout and in a file as soon as they are known."""

    def __init__(self, output: Path | None) -> None:
        self.all: list[Figures] = []
        self._output = output

    def add(self, figures: Figures) -> None:
        self.all.append(figures)
        line = json.dumps(figures)
        print(line, flush=True)
        if self._output:
            with self._output.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def machine(device: str) -> Figures:
    """What the figures are of; a package that is missing is None."""
    figures: Figures = {
        "date": date.today().isoformat(),
        "processor": processor_name(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {package: version_of(package) for package in PACKAGES},
    }
    if device == "gpu":
        import torch

        figures["gpu"] = torch.cuda.get_device_name()
    return figures


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def measurements(part: str, jpegs: list[bytes], options: argparse.Namespace) -> Iterator[Figures]:
    """One part's figures, each as it is known."""
    if part == "serving":
        yield from serving(options)
        return
    from gpu import correctness, rates

    if part == "decode":
        yield from rates.decode_only(jpegs, options.rate_seconds)
        yield from optional(lambda: rates.nvimgcodec_decode_only(jpegs, options.rate_seconds))
        yield from optional(lambda: rates.torchvision_decode_only(jpegs, options.rate_seconds))
    elif part == "path":
        yield from rates.whole_path(jpegs, options.rate_seconds)
        yield from rates.kernel_alone(jpegs, options.rate_seconds)
    elif part == "fidelity":
        yield from correctness.fidelity(jpegs)
    else:
        yield from correctness.corruption(jpegs, options.batches)


def optional(measure: Callable[[], Iterator[Figures]]) -> Iterator[Figures]:
    """Figures of something that need not be installed."""
    try:
        yield from measure()
    except (ImportError, RuntimeError) as error:
        print(f"left out: {error}", file=sys.stderr)


def serving(options: argparse.Namespace) -> Iterator[Figures]:
    from gpu.serving import Question, Setting, measure_serving
    from perf_analyzer import cache_folder, fetch_perf_analyzer, link_libraries

    program = options.perf_analyzer or fetch_perf_analyzer(cache_folder())
    link_libraries(program.parent)
    cores = sorted(os.sched_getaffinity(0))
    generator = set(cores[-(options.generator_cores or max(1, len(cores) // 3)) :])
    if options.device == "cpu":
        few = [Question(1), Question(16), Question(4, images=8), Question(16, shared_memory=True)]
        plan = [(Setting("cpu", instances), few) for instances in options.instances]
    else:
        few = [Question(1), Question(64), Question(256)]
        all_questions = [*few, Question(512), Question(64, images=8), Question(32, images=32)]
        shared = [Question(256, shared_memory=True), Question(32, images=32, shared_memory=True)]
        all_questions += shared
        first, *others = options.instances
        plan = [(Setting("gpu", first), all_questions), (Setting("gpu", first, hand_over="device"), few)]
        most = [Question(512), Question(32, images=32), shared[1]]
        plan += [(Setting("gpu", first, batches=1), most)]
        plan += [(Setting("gpu", instances), [*few, *most]) for instances in others]
        plan += [(Setting("cpu", len(cores) - len(generator)), few)]
    for setting, questions in plan:
        with tempfile.TemporaryDirectory(prefix="alexnet-preprocessing-") as name:
            folder = Path(name)
            jpegs = write_jpegs(folder / "jpegs")
            try:
                yield from measure_serving(
                    folder, setting, questions, jpegs,
                    program=program, generator_cores=generator, seconds=options.seconds,
                    stand_in_device="cuda" if options.device == "gpu" else "cpu",
                )  # fmt: skip
            except Exception as fault:  # the other settings still count
                traceback.print_exc()
                yield {"what": "serving", "setting": str(setting), "error": f"{type(fault).__name__}: {fault}"[:2000]}
            if options.logs and (folder / "triton.log").exists():
                options.logs.mkdir(parents=True, exist_ok=True)
                kept = (
                    options.logs
                    / f"triton_{setting.device}_{setting.instances}x{setting.batches}_{setting.hand_over}.log"
                )
                kept.write_bytes((folder / "triton.log").read_bytes()[-2_000_000:])


def best(results: list[Figures], **wanted: Any) -> Figures | None:
    """The figures with the most images a second among those that have these values."""
    found = [f for f in results if "images_per_s" in f and all(f.get(key) == value for key, value in wanted.items())]
    return max(found, key=lambda figures: figures["images_per_s"], default=None)


def targets_missed(results: list[Figures], parts: list[str]) -> list[str]:
    """The targets that were not reached, a sentence each; parts that were not asked for have none."""
    from gpu.serving import Setting

    missed = []
    if "corruption" in parts:
        found = next((figures for figures in results if figures["what"] == "corruption" and "corrupt" in figures), None)
        if found is None or found["corrupt"]:
            missed.append(f"corrupt images: {found['corrupt'] if found else 'not counted'}, target none")
    if "serving" in parts:
        served = best(results, what="serving")
        decoded = best(results, what="decode only", batch=Setting.max_batch)
        one = [f["p50_ms"] for f in results if f["what"] == "serving" and f.get("concurrency") == 1]
        rate = served["images_per_s"] if served else 0.0
        if rate < MIN_IMAGES_PER_S:
            missed.append(f"{rate:,.0f} images/s end to end, target {MIN_IMAGES_PER_S:,}")
        if decoded and rate < MIN_SHARE_OF_DECODING * decoded["images_per_s"]:
            share = rate / decoded["images_per_s"]
            missed.append(
                f"{share:.2f} of decoding alone in batches of {decoded['batch']}, target {MIN_SHARE_OF_DECODING}"
            )
        if not one or min(one) > MAX_P50_MS:
            missed.append(f"median latency of one request {min(one, default=float('nan')):.2f} ms, target {MAX_P50_MS}")
    return missed


def print_table(results: list[Figures]) -> None:
    """All rates, a line each."""
    print()
    print(f"{'what':<20}{'setting':<50}{'batch or load':>15}{'images/s':>11}{'p50 ms':>9}{'p99 ms':>9}")
    for figures in results:
        if "images_per_s" not in figures:
            continue
        load = str(figures.get("batch", ""))
        if "concurrency" in figures:
            load = f"{figures['concurrency']}x{figures['images_a_request']}" + " shm" * figures["shared_memory"]
        latency = [f"{figures[name]:9.2f}" if name in figures else " " * 9 for name in ("p50_ms", "p99_ms")]
        print(
            f"{figures['what']:<20}{figures['setting']:<50}{load:>15}{figures['images_per_s']:>11,.0f}{''.join(latency)}"
        )
    for figures in results:
        if figures["what"] in ("fidelity", "corruption") and "error" not in figures:
            print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()))
        if "error" in figures:
            print(f"failed: {figures['what']} {figures.get('setting', '')}: {figures['error'].splitlines()[0][:200]}")


if __name__ == "__main__":
    sys.exit(main())
