"""Serving on a CPU: this project, NVIDIA's example, and what people would use instead, measured in turns in one run.

    python -m venv runs/peers && runs/peers/bin/pip install -e '.[benchmark]'    # once
    python benchmarks/serving.py                                                # at most fifteen minutes
    python benchmarks/serving.py --quick --sides ours example --output runs/try.jsonl
    python benchmarks/serving_report.py runs/serving.jsonl --docs docs          # tables, CSV and pictures from that

All sides serve the same network, get the same JPEG files of 500x375 pixels, all on 127.0.0.1, and take turns. Load
comes from NVIDIA's perf_analyzer where a server speaks Triton's protocol, with this project's client beside it, and
from load.py over HTTP otherwise. The network and decoding are also measured alone; from both follows the most that any
server could do here. A run that was stopped goes on with the same command. Tables are on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from serving_report import print_report
from serving_run import OutOfTimeError, Run
from sides import Side, all_sides, peers_missing


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end with this process
    with tempfile.TemporaryDirectory(prefix="alexnet-serving-") as folder:
        run = Run(
            options.network,
            chosen_sides(options.sides, options.peers.absolute() / "bin" / "python"),
            options.peers.absolute() / "bin" / "python",
            options.output,
            Path(folder),
            quick=options.quick,
            stop_after_s=options.stop_after,
        )
        try:
            if options.sweep:
                run.measure_settings()
            else:
                run.measure()
        except OutOfTimeError:
            print(f"stopped after {options.stop_after:.0f} s; the same command goes on", file=sys.stderr)
    print_report(run.results)
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["imagenet", "demo"], default="imagenet", help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/serving.jsonl"), help="file of results (%(default)s)")
    parser.add_argument("--peers", type=Path, default=Path("runs/peers"), help="their environment (%(default)s)")
    parser.add_argument("--sides", nargs="+", default=[], metavar="SIDE", help="ours, example, litserve-int8, ...")
    parser.add_argument("--quick", action="store_true", help="1 and 32 concurrent requests, once, half as long")
    parser.add_argument("--sweep", action="store_true", help="compare the peers' settings instead")
    parser.add_argument("--stop-after", type=float, default=900, help="seconds (%(default)s)")
    return parser.parse_args()


def chosen_sides(names: list[str], peers_python: Path) -> list[Side]:
    """The sides that were named, by key or kind; all if none was.

    Raises:
        SystemExit: a name is unknown, or the peers' environment is not there.
    """
    sides = all_sides()
    known = {side.key for side in sides} | {side.kind for side in sides}
    if unknown := sorted(set(names) - known):
        sys.exit(f"unknown side {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
    chosen = [side for side in sides if not names or side.key in names or side.kind in names]
    if any(side.kind in ("litserve", "fastapi", "bentoml") for side in chosen) and peers_missing(peers_python):
        folder = peers_python.parents[1]
        sys.exit(
            f"the peers are not installed in {folder}; next: python -m venv {folder} && "
            f"{folder}/bin/pip install -e '.[benchmark]'"
        )
    return chosen


if __name__ == "__main__":
    sys.exit(main())
