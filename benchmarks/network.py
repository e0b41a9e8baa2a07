"""What the network alone costs on this machine: milliseconds of one core for an image, by size of the batch.

    python benchmarks/network.py --repository DIR

Nothing in front of the network can make it faster than this, so it is the ceiling of every throughput figure.
Results are on stdout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from configs import newest_network
from figures import spread
from latency import seconds_each
from report import new_console, new_table

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
RUNS = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, help="made by alexnet-build")
    network = newest_network(parser.parse_args().repository)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[1]
    table = new_table("the network alone, one thread", "ms an image", "min", "max")
    for batch_size in BATCH_SIZES:
        pixels = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)
        seconds = seconds_each(lambda batch: session.run(None, {"PIXELS": batch}), [pixels] * (RUNS + 1))[1:]
        per_image = spread([1e3 * value / batch_size for value in seconds])
        table.add_row(
            f"batch {batch_size}", *(f"{value:.1f}" for value in (per_image.p50, per_image.min, per_image.max))
        )
    new_console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
