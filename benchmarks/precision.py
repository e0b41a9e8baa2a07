"""What each precision costs and gains: file size, speed on the CPU, agreement with FP32, accuracy.

    python benchmarks/precision.py --data caltech101 --calibration caltech101/train    # 20 minutes on two cores
    python benchmarks/precision.py --data flowers --weights runs/flowers/weights.safetensors --json precision.json

FP32 and INT8 for ONNX Runtime are served from the CPU, so their speed is measured: the network alone, in turns, so that
whatever else the machine does meets all of them. FP16, BF16, INT8 and FP8 for TensorRT are computed on the CPU with the
rounding that their graphs ask for; their answers count, their speed on a CPU says nothing. Photographs are
DIR/test/<label>/ or DIR/<label>/; ranges are calibrated on --calibration, or on crops of the package's photographs.
Results are on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from alexnet_build.configs import Engine
from alexnet_build.evaluation.photographs import labelled_photographs, network_targets, split_directory
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.precision.calibration import activation_ranges, calibration_pixels, random_crops
from alexnet_build.precision.onnx_in_precision import QUANTISED, Precision, Quantising, onnx_in_precision
from alexnet_build.precision.qdq_from_onnx import qdq_from_onnx, quantisable
from alexnet_build.precision.sensitivity import LayerError, layer_errors
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.verify import PHOTOGRAPHS, Views, onnxruntime_infer, photographs_in, simulated_infer
from alexnet_build.verify.parity import compared
from alexnet_build.weights import TrainedNetwork, load_weights
from machine import Machine, this_machine
from report import new_console, new_table

ROWS: tuple[tuple[str, Engine, Precision, str], ...] = (
    ("FP32", "onnxruntime", "fp32", "max"),
    ("INT8 for ONNX Runtime", "onnxruntime", "int8", "max"),
    ("FP16", "tensorrt", "fp16", "max"),
    ("BF16", "tensorrt", "bf16", "max"),
    ("INT8 for TensorRT", "tensorrt", "int8", "max"),
    ("INT8 for TensorRT, entropy", "tensorrt", "int8", "entropy"),
    ("FP8 for TensorRT", "tensorrt", "fp8", "max"),
    ("FP8 for TensorRT, entropy", "tensorrt", "fp8", "entropy"),
)
BATCH = 32


@dataclass(frozen=True)
class Row:
    """One precision, measured.

    Attributes:
        name: Precision and engine.
        file_bytes: Of the ONNX file.
        latency_s: Median of the network alone at a batch of 1; None where the CPU does not serve it.
        images_per_s: Median at a batch of 32; None likewise.
        speedup: Median of the turns' ratios to FP32 at a batch of 32.
        latency_ratio: FP32's latency over this one's, likewise at a batch of 1.
        top1_agreement: With FP32, as the next two.
        max_probability_difference: Largest.
        mean_probability_difference: Share of probability that moves, on average.
        accuracy: On the labelled photographs.
    """

    name: str
    file_bytes: int
    latency_s: float | None
    images_per_s: float | None
    speedup: float | None
    latency_ratio: float | None
    top1_agreement: float
    max_probability_difference: float
    mean_probability_difference: float
    accuracy: float


@dataclass(frozen=True)
class Report:
    """All that was measured."""

    machine: Machine
    threads: int
    photographs: int
    calibrated_on: int
    rows: list[Row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="labelled photographs")
    parser.add_argument("--weights", default="demo", help="as for alexnet-build (%(default)s)")
    parser.add_argument("--calibration", type=Path, help="folder of photographs")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each engine (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--layers", action="store_true", help="what rounding each layer alone does, instead")
    options = parser.parse_args()
    trained = load_weights(options.weights)
    with tempfile.TemporaryDirectory() as scratch:
        if options.layers:
            print_layers(layer_by_layer(trained, options, Path(scratch)))
            return
        report = measure(trained, options, Path(scratch))
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def measure(trained: TrainedNetwork, options: argparse.Namespace, folder: Path) -> Report:
    views = labelled_views(trained, options.data)
    source = photographs_in(options.calibration or PHOTOGRAPHS)
    pixels, held_out = calibration_pixels(source, trained.spec), random_crops(source, trained.spec, 2, 1)
    exact = folder / "exact.onnx"
    onnx_from_network(trained, exact)
    last = (quantisable(exact, "int8")[-1],)
    files, answers = {}, {}
    for name, engine, precision, method in ROWS:
        tell(f"{name}: exporting")
        files[name] = folder / f"{len(files)}.onnx"
        # as built: all layers but the last; rows compare precisions, so that no more are left out where limits ask
        quantising = Quantising(pixels, held_out, method, keep=last)  # type: ignore[arg-type]
        onnx_in_precision(trained, files[name], engine, precision, quantising if precision in QUANTISED else None)
        tell(f"{name}: {len(views)} photographs")
        infer = onnxruntime_infer(files[name]) if engine == "onnxruntime" else simulated_infer(files[name])
        answers[name] = in_batches(infer, views.pixels)
    served = {name: files[name] for name, engine, _, _ in ROWS if engine == "onnxruntime"}
    seconds = {size: turns(served, views.pixels[:size], options.rounds) for size in (1, BATCH)}
    rows = []
    for name, *_ in ROWS:
        found = compared(answers["FP32"], answers[name], views, trained.spec.labels)
        rows.append(
            Row(
                name, files[name].stat().st_size,
                *((statistics.median(seconds[1][name]), BATCH / statistics.median(seconds[BATCH][name]),
                   ratio(seconds[BATCH], name), ratio(seconds[1], name)) if name in served else (None,) * 4),
                found.top1_agreement, found.max_probability_difference, found.mean_probability_difference,
                found.accuracy or 0.0,
            )
        )  # fmt: skip
    return Report(this_machine(), len(os.sched_getaffinity(0)), len(views), len(pixels), rows)


def layer_by_layer(trained: TrainedNetwork, options: argparse.Namespace, folder: Path) -> dict[str, list[LayerError]]:
    """For INT8 and FP8 for TensorRT: the error of each layer alone, on the labelled photographs, every fifth."""
    views = labelled_views(trained, options.data)
    pixels = np.ascontiguousarray(views.pixels[::5])
    exact, half, rounded = (folder / f"{name}.onnx" for name in ("exact", "half", "rounded"))
    onnx_from_network(trained, exact)
    onnx_from_network(trained, half, precision="fp16")
    source = photographs_in(options.calibration or PHOTOGRAPHS)
    ranges = activation_ranges(exact, calibration_pixels(source, trained.spec), "max")
    reference = in_batches(onnxruntime_infer(exact), pixels)
    found = {}
    for precision in QUANTISED:

        def answers(keep: Sequence[str], precision: str = precision) -> np.ndarray:
            tell(f"{precision}: all but {', '.join(keep)}")
            qdq_from_onnx(half, rounded, precision, ranges, exact, keep=keep)  # type: ignore[arg-type]
            return in_batches(simulated_infer(rounded), pixels)

        found[precision] = list(layer_errors(quantisable(half, precision), answers, reference))  # type: ignore[arg-type]
    return found


def print_layers(found: dict[str, list[LayerError]]) -> None:
    table = new_table("each layer rounded alone", "layer", "probability that moves", "same first class")
    for precision, errors in found.items():
        for error in errors:
            cells = (f"{error.mean_probability_difference:.1e}", f"{error.top1_agreement:.2%}")
            table.add_row(precision, error.layer, *cells)
        table.add_section()
    new_console().print(table)


def labelled_views(trained: TrainedNetwork, data: Path) -> Views:
    split = labelled_photographs(split_directory(data))
    spec = trained.spec
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda p: pixels_from_photograph(p, spec.image_size, spec.resize_short_side), split.paths)
        pixels = np.stack(list(decoded))
    return Views(pixels, tuple(path.name for path in split.paths), network_targets(split, spec.labels, "the network"))


def in_batches(infer: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([infer(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def turns(files: dict[str, Path], pixels: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds of each engine's runs on the same pixels, the engines in turns."""
    engines = {name: onnxruntime_infer(path) for name, path in files.items()}
    for infer in engines.values():
        infer(pixels)  # the first run allocates
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds * (10 if len(pixels) == 1 else 1)):
        for name, infer in engines.items():
            started = time.perf_counter()
            infer(pixels)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str) -> float:
    """The median over the turns of FP32's seconds over another engine's."""
    return statistics.median(a / b for a, b in zip(seconds["FP32"], seconds[name], strict=True))


def print_report(report: Report) -> None:
    console = new_console()
    table = new_table(
        f"{report.photographs:,} photographs, calibrated on {report.calibrated_on} views; {report.threads} threads of "
        f"{report.machine.processor}",
        *("MB", "batch 1: ms", "x FP32", f"batch {BATCH}: images/s", "x FP32", "same first class"),
        *("largest difference", "mean", "accuracy"),
    )
    for row in report.rows:
        table.add_row(
            row.name,
            f"{row.file_bytes / 1e6:.1f}",
            *(shown(value, form) for value, form in (
                (row.latency_s and row.latency_s * 1e3, ".1f"), (row.latency_ratio, ".2f"),
                (row.images_per_s, ".0f"), (row.speedup, ".2f"),
            )),
            f"{row.top1_agreement:.2%}", f"{row.max_probability_difference:.1e}",
            f"{row.mean_probability_difference:.1e}", f"{row.accuracy:.2%}",
        )  # fmt: skip
    console.print(table)


def shown(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
