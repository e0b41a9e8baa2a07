"""Pinned buffers, streams, CUDA graphs, several batches in flight: whether they are right, and what they are worth.

    PYTHONPATH=build:client:server python benchmarks/inference_gpu.py --json inference.json

torch runs the network in the place of a TensorRT plan, so that a machine without TensorRT will do: buffers, streams,
graphs and the ring of slots are the same code. First every answer is checked, then ways to run a batch are timed, host
to host, from pixels in an ordinary array to probabilities in an ordinary array:

* plain: copy from pageable memory, run, copy back, wait; one after the other.
* pinned: a slot's pinned buffers and own stream, one batch at a time, kernels launched one by one.
* graph: the same, all of it as one CUDA graph.
* in flight: graphs, and the next batches submitted while one runs.

What was expected, before it was measured (H100 or H200, FP16). Graphs help most up to batch 8, where some 25 launches
of a few microseconds each weigh against a quarter of a millisecond: 1.3 to 2 times less latency than plain. From batch
64 on they gain little. With batches in flight, copies (10 MB of pixels at batch 64, a quarter of a millisecond over
PCIe) overlap the computing: 1.3 to 2 times the images a second of graph alone at batch 64. The host's own copy into the
pinned buffer, some 10 GB/s a core, may then be what is left: up to a millisecond at batch 64.

Without a GPU, or with --device cpu, the checks run where there are slots but no pinned memory, streams or graphs, and
no time is taken. Results are on stdout.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alexnet_build.inference.device_session import DeviceSession
from alexnet_build.inference.session import Pending
from alexnet_build.inference.torch_engine import TorchEngine
from alexnet_build.network import ServingGraph
from alexnet_build.weights import TrainedNetwork, load_weights

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: Sizes without a graph of their own: how they fare filled up to the next graph, and launched as they are.
ODD_SIZES = (3, 6, 12, 24, 48, 96)
CHECKED_BATCH = 64
#: Largest difference of a probability from torch's FP32 on the CPU.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="demo", help="demo, imagenet or a file")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="without it, the GPU if there is one")
    parser.add_argument("--seconds", type=float, default=0.25, help="how long each way is timed at each batch size")
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False  # FP32 is compared with FP32
    trained = load_weights(arguments.weights)

    pool = Pool(trained, 2 * CHECKED_BATCH if device == "cuda" else 16)
    figures: dict[str, Any] = {"machine": machine(device), "checks": {}}
    for precision in ("fp32", "fp16") if device == "cuda" else ("fp32",):
        figures["checks"][precision] = check(trained, precision, device, pool)
    print_checks(figures["checks"])
    if device == "cuda":
        figures["ways"] = measure(trained, arguments.seconds)
        figures["filling_up"] = measure_filling_up(trained, arguments.seconds)
        figures["slots"] = measure_slots(trained, arguments.seconds)
        print_ways(figures)
    else:
        print("no GPU: pinned memory, streams and graphs were not checked, and no time was taken")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


class Pool:
    """Images, each unlike the others, and torch's FP32 answers to them on the CPU."""

    def __init__(self, trained: TrainedNetwork, count: int) -> None:
        side = trained.spec.image_size
        generator = np.random.default_rng(0)
        # Noise of different brightness and colour: plain noise would be answered alike each time.
        base = generator.integers(0, 256, (count, 1, 1, 3))
        spread = generator.integers(1, 128, (count, 1, 1, 1))
        noise = generator.integers(-1000, 1001, (count, side, side, 3)) / 1000
        self.pixels = np.clip(base + spread * noise, 0, 255).astype(np.uint8)
        graph = ServingGraph(trained.network, trained.spec).eval()
        with torch.inference_mode():
            parts = [graph(torch.from_numpy(self.pixels[i : i + 16])).numpy() for i in range(0, count, 16)]
        self.answers = np.concatenate(parts)

    def batch(self, size: int, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """(size, S, S, 3) pixels, and which (size,) images they are; other ones at each turn."""
        rows = (np.arange(size) + turn * size) % len(self.pixels)
        return self.pixels[rows], rows

    def difference(self, answer: np.ndarray, rows: np.ndarray) -> float:
        """Largest difference of any probability; infinite where an answer is nearer to another image's than its own."""
        distances = np.abs(answer[:, None] - self.answers[None]).max(2)  # (size, pool)
        mixed_up = not (distances.argmin(1) == rows).all()
        return math.inf if mixed_up else float(distances[np.arange(len(rows)), rows].max())


def check(trained: TrainedNetwork, precision: str, device: str, pool: Pool) -> dict[str, float]:
    """Run every batch size, every way; the largest difference from the reference, by way.

    Raises:
        SystemExit: An answer is another than it should be.
    """
    largest = min(CHECKED_BATCH, len(pool.pixels) // 2)
    engine = TorchEngine(trained, max_batch=largest, precision=precision, device=device)
    worst: dict[str, float] = {}

    def compare(way: str, size: int, answer: np.ndarray, rows: np.ndarray) -> None:
        difference = pool.difference(answer, rows)
        worst[way] = max(worst.get(way, 0.0), difference)
        if not difference <= TOLERANCE[precision]:  # NaN, too
            sys.exit(
                f"{way}, {precision}, batch {size}: probabilities differ from torch's on the CPU by {difference:.1e}"
            )

    graphs = {"kernel by kernel": ()} | ({"graphs": None} if device == "cuda" else {})
    for name, sizes in graphs.items():
        with DeviceSession(engine, slots=3, graph_batch_sizes=sizes) as session:
            for size in range(1, largest + 1):
                for turn in (0, 1, 0, 1):  # A, B, A, B: an answer that is left over is another image's
                    pixels, rows = pool.batch(size, turn)
                    compare(f"infer, {name}", size, session.infer(pixels), rows)
            flying: deque[tuple[int, Pending, np.ndarray]] = deque()
            for turn, size in enumerate([*range(1, largest + 1), *range(largest, 0, -1)]):
                pixels, rows = pool.batch(size, turn)
                flying.append((size, session.submit(pixels), rows))
                pixels[:] = 0  # the session has a copy
                while len(flying) > 8:
                    done_size, pending, wanted = flying.popleft()
                    compare(f"submit, {name}", done_size, pending.result(timeout_s=60), wanted)
            for done_size, pending, wanted in reversed(flying):  # not in the order in which they were submitted
                compare(f"submit, {name}", done_size, pending.result(timeout_s=60), wanted)
            for size, answer, wanted in from_threads(session, pool, largest):
                compare(f"four threads, {name}", size, answer, wanted)
            pixels, rows = pool.batch(3 * largest + 1, 0)
            compare(f"split, {name}", 3 * largest + 1, session.infer(pixels), rows)
    return worst


def from_threads(session: DeviceSession, pool: Pool, largest: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Answers that four threads got from one session at the same time."""
    answers: list[tuple[int, np.ndarray, np.ndarray]] = []

    def ask(seed: int) -> None:
        for turn, size in enumerate(np.random.default_rng(seed).integers(1, largest + 1, 24)):
            pixels, rows = pool.batch(int(size), seed * 24 + turn)
            answers.append((int(size), session.infer(pixels), rows))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 * 24, "a thread ended before its time"
    return answers


def measure(trained: TrainedNetwork, seconds: float) -> list[dict[str, float]]:
    """The four ways at every batch size, in FP16."""
    rows = []
    for size in SIZES:
        engine = TorchEngine(trained, max_batch=size, precision="fp16")
        batches = noise(engine.image_size, size)
        row: dict[str, float] = {"batch": size, **timed("plain", plain(engine), batches, seconds)}
        with DeviceSession(engine, graph_batch_sizes=()) as session:
            row |= timed("pinned", session.infer, batches, seconds)
            row["pinned_device_ms"] = device_ms(session, batches[0], graphed=False)
        with DeviceSession(engine, graph_batch_sizes=(size,)) as session:
            row |= timed("graph", session.infer, batches, seconds)
            row["graph_device_ms"] = device_ms(session, batches[0], graphed=True)
            row["in_flight_images_per_s"] = in_flight(session, batches, seconds)
        rows.append(row)
    return rows


def measure_filling_up(trained: TrainedNetwork, seconds: float) -> list[dict[str, float]]:
    """Sizes between two graphs: filled up to the next power of two, and launched kernel by kernel."""
    rows = []
    for size in ODD_SIZES:
        filled = 1 << math.ceil(math.log2(size))
        engine = TorchEngine(trained, max_batch=filled, precision="fp16")
        batches, full = noise(engine.image_size, size), noise(engine.image_size, filled)
        with DeviceSession(engine, graph_batch_sizes=()) as session:
            as_it_is = timed("as_it_is", session.infer, batches, seconds)
        with DeviceSession(engine, graph_batch_sizes=(filled,)) as session:
            rows.append(
                {"batch": size, "filled_to": filled, **as_it_is, **timed("filled", session.infer, full, seconds)}
            )
    return rows


def measure_slots(trained: TrainedNetwork, seconds: float) -> list[dict[str, float]]:
    """Images a second by the number of batches in flight."""
    rows = []
    for size in (8, 64):
        engine = TorchEngine(trained, max_batch=size, precision="fp16")
        batches = noise(engine.image_size, size)
        for slots in (1, 2, 3, 4):
            with DeviceSession(engine, slots=slots, graph_batch_sizes=(size,)) as session:
                rows.append({"batch": size, "slots": slots, "images_per_s": in_flight(session, batches, seconds)})
    return rows


def plain(engine: TorchEngine) -> Callable[[np.ndarray], np.ndarray]:
    """As one would write it first: pageable copies on the default stream, and a wait."""

    def infer(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return engine.graph(torch.from_numpy(pixels).to(engine.device)).cpu().numpy()

    return infer


def timed(
    name: str, infer: Callable[[np.ndarray], np.ndarray], batches: list[np.ndarray], seconds: float
) -> dict[str, float]:
    """Latency of one batch after the other, for about so many seconds and at least 20 batches."""
    for pixels in batches:
        infer(pixels)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 20:
        started = time.perf_counter()
        infer(batches[len(taken) % len(batches)])
        taken.append(time.perf_counter() - started)
    p99 = sorted(taken)[math.ceil(0.99 * len(taken)) - 1]
    return {f"{name}_p50_ms": 1e3 * statistics.median(taken), f"{name}_p99_ms": 1e3 * p99}


def device_ms(session: DeviceSession, pixels: np.ndarray, *, graphed: bool) -> float:
    """Median time of both copies and the network, by events on the stream."""
    with session.borrowed_slot() as slot:
        slot.fill(pixels)
        taken = []
        for _ in range(30):
            slot.launch(len(pixels), graphed=graphed)
            slot.wait(None)
            taken.append(slot.milliseconds())
    return statistics.median(taken[5:])


def in_flight(session: DeviceSession, batches: list[np.ndarray], seconds: float) -> float:
    """Images a second while every slot is kept busy."""
    session.infer(batches[0])
    waiting: deque[Pending] = deque()
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        waiting.append(session.submit(batches[count % len(batches)]))
        count += 1
        while len(waiting) > 8:
            waiting.popleft().result()
    for pending in waiting:
        pending.result()
    return count * len(batches[0]) / (time.perf_counter() - started)


def noise(side: int, size: int) -> list[np.ndarray]:
    """Four batches of (size, S, S, 3) uint8."""
    generator = np.random.default_rng(size)
    return [generator.integers(0, 256, (size, side, side, 3), np.uint8) for _ in range(4)]


def machine(device: str) -> dict[str, str]:
    """What it ran on."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "cuda": str(torch.version.cuda), "numpy": np.__version__}


def print_checks(checks: dict[str, dict[str, float]]) -> None:
    """One line a way: its largest difference."""
    print("largest difference of a probability from torch's FP32 on the CPU")
    for precision, ways in checks.items():
        for way, difference in ways.items():
            print(f"  {precision}  {way:32}  {difference:.1e}  (at most {TOLERANCE[precision]:.0e})")


def print_ways(figures: dict[str, Any]) -> None:
    """The tables."""
    print(f"\n{figures['machine']['device']}, torch {figures['machine']['torch']}, FP16; ms host to host, p50 (p99)")
    print(
        f"{'batch':>5}  {'plain':>15}  {'pinned':>15}  {'graph':>15}  {'on the GPU: pinned':>18}  {'graph':>7}", end=""
    )
    print(f"  {'images/s: plain':>15}  {'graph':>9}  {'in flight':>9}")
    for row in figures["ways"]:
        cells = [f"{row[f'{way}_p50_ms']:.3f} ({row[f'{way}_p99_ms']:.3f})" for way in ("plain", "pinned", "graph")]
        rates = [1e3 * row["batch"] / row[f"{way}_p50_ms"] for way in ("plain", "graph")]
        print(f"{row['batch']:5}  " + "  ".join(f"{cell:>15}" for cell in cells), end="")
        print(f"  {row['pinned_device_ms']:18.3f}  {row['graph_device_ms']:7.3f}", end="")
        print(f"  {rates[0]:15,.0f}  {rates[1]:9,.0f}  {row['in_flight_images_per_s']:9,.0f}")
    print("\nsizes without a graph: kernel by kernel, or filled up to the next graph; ms, p50")
    for row in figures["filling_up"]:
        print(f"{row['batch']:5} {row['as_it_is_p50_ms']:9.3f}   as {row['filled_to']:3} {row['filled_p50_ms']:9.3f}")
    print("\nimages/s by batches in flight")
    for row in figures["slots"]:
        print(f"  batch {row['batch']:3}, {row['slots']} slots  {row['images_per_s']:9,.0f}")


if __name__ == "__main__":
    sys.exit(main())
