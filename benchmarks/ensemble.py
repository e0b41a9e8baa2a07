"""The ensemble on the embedded Triton server, against its work without a server and against a plain ensemble.

    python benchmarks/ensemble.py                     # five minutes; builds the demo repositories first
    python benchmarks/ensemble.py --repository DIR --int8-repository DIR --seconds 10 --json figures.json

Latency, one request at a time: through the server, over decoding and inference in this process; target: at
most 1.25 times. Throughput at 32 concurrent requests, in FP32 and in INT8: over the same weights in FP32 in
baselines/one_image_a_request; target: at least 3 times. The sides take turns on the same machine, all on
127.0.0.1. Results are on stdout.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from alexnet_server import running_server
from baseline import write_baseline
from figures import Spread, ratios, spread
from jpegs import SIZE, write_jpegs
from latency import measure_latency
from load import Load
from machine import Machine, this_machine
from report import print_report
from throughput import measure_throughput

MAX_LATENCY_RATIO = 1.25
MIN_THROUGHPUT_RATIO = 3.0
LATENCY_ROUNDS = 10
LATENCY_IMAGES = 20
CONCURRENCY = 32

FP32, INT8, BASELINE = "ensemble, FP32", "ensemble, INT8", "baseline, FP32"


@dataclass(frozen=True)
class Figures:
    """All that was measured; seconds and images per second.

    Attributes:
        machine: where.
        jpeg_size: width and height of the images, in pixels.
        jpeg_bytes: sizes of the images.
        in_process_s: latency of decoding and inference in one process.
        ensemble_s: latency of the same through the server.
        latency_ratio: median of ``ensemble_s`` over median of ``in_process_s``.
        latency_ratios: the same of every round.
        throughput: every round of each side.
    """

    machine: Machine
    jpeg_size: tuple[int, int]
    jpeg_bytes: Spread
    in_process_s: Spread
    ensemble_s: Spread
    latency_ratio: float
    latency_ratios: Spread
    throughput: dict[str, list[Load]]

    def images_per_s(self, side: str) -> list[float]:
        """Throughput of every round of a side."""
        return [load.images_per_s for load in self.throughput[side]]

    def throughput_ratio(self, side: str) -> float:
        """The median of a side's images/s over the baseline's."""
        return spread(self.images_per_s(side)).p50 / spread(self.images_per_s(BASELINE)).p50

    def throughput_ratios(self, side: str) -> Spread:
        """The same of every round."""
        return ratios(self.images_per_s(side), self.images_per_s(BASELINE))

    @property
    def missed(self) -> list[str]:
        """The targets that were not reached, a sentence each."""
        missed = []
        if self.latency_ratio > MAX_LATENCY_RATIO:
            missed.append(f"latency ratio {self.latency_ratio:.2f}, target at most {MAX_LATENCY_RATIO}")
        for side in (FP32, INT8):
            if (ratio := self.throughput_ratio(side)) < MIN_THROUGHPUT_RATIO:
                missed.append(f"throughput ratio of {side} {ratio:.2f}, target at least {MIN_THROUGHPUT_RATIO}")
        return missed


def main() -> int:
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as folder:
        figures = measure(options, Path(folder))
    print_report(figures)
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    if options.csv:
        write_rounds(options.csv, figures)
    for sentence in figures.missed:
        print(f"target missed: {sentence}", file=sys.stderr)
    return 1 if options.assert_targets and figures.missed else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repository", type=Path, help="made by alexnet-build with --engine onnxruntime; built if not given"
    )
    parser.add_argument("--int8-repository", type=Path, help="the same with --precision int8; built if not given")
    parser.add_argument("--seconds", type=float, default=5, help="of one turn of throughput (%(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each side (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--csv", type=Path, help="file for the rounds of throughput, one a line")
    parser.add_argument("--assert-targets", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> Figures:
    repository = options.repository or build_demo_repository(folder / "fp32", "fp32")
    int8_repository = options.int8_repository or build_demo_repository(folder / "int8", "int8")
    baseline = folder / "baseline"
    write_baseline(repository, baseline)
    jpegs = folder / "jpegs"
    paths = write_jpegs(jpegs)

    with ExitStack() as stack:
        ensemble_server = stack.enter_context(running_server(repository))
        in_process, ensemble = measure_latency(
            ensemble_server.grpc_url, repository, paths, rounds=LATENCY_ROUNDS, images=LATENCY_IMAGES
        )
        int8_server = stack.enter_context(running_server(int8_repository))
        baseline_server = stack.enter_context(running_server(baseline))
        loads = measure_throughput(
            {FP32: ensemble_server, INT8: int8_server, BASELINE: baseline_server},
            jpegs,
            rounds=options.rounds,
            seconds=options.seconds,
            concurrency=CONCURRENCY,
            tell=lambda message: print(message, file=sys.stderr, flush=True),
        )

    in_process_s, ensemble_s = (spread(list(chain(*blocks))) for blocks in (in_process, ensemble))
    return Figures(
        machine=this_machine(),
        jpeg_size=SIZE,
        jpeg_bytes=spread([path.stat().st_size for path in paths]),
        in_process_s=in_process_s,
        ensemble_s=ensemble_s,
        latency_ratio=ensemble_s.p50 / in_process_s.p50,
        latency_ratios=ratios([spread(b).p50 for b in ensemble], [spread(b).p50 for b in in_process]),
        throughput=loads,
    )


def build_demo_repository(folder: Path, precision: str) -> Path:
    print(f"building the demo repository in {precision}", file=sys.stderr, flush=True)
    command = ["repository", "--weights", "demo", "--engine", "onnxruntime", "--precision", precision]
    command += ["--output", str(folder)]
    subprocess.run([sys.executable, "-m", "alexnet_build", *command], check=True, stdout=subprocess.DEVNULL)
    return folder


def write_rounds(path: Path, figures: Figures) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["side", "round", *asdict(figures.throughput[BASELINE][0])])
        writer.writeheader()
        for side, loads in figures.throughput.items():
            for number, load in enumerate(loads, 1):
                writer.writerow({"side": side, "round": number, **asdict(load)})


if __name__ == "__main__":
    sys.exit(main())
