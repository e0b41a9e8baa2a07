"""One run of serving.py: servers that are kept busy in turn, the work without a server between their turns.

In: the sides and a network. Out: records in the file of results. Called by serving.py.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import perf_analyzer
from alone import ENGINES, NetworkAlone, cores, decode_s, decoded_per_s, write_sizes
from baseline import write_baseline
from figures import spread
from jpegs import PHOTOGRAPHS, SIZE, write_jpegs
from latency import measure_latency
from load import Load
from machine import this_machine
from networks import PRECISIONS, NetworkName, write_repository
from results import Results, Turn
from sides import ALTERNATIVES, BEST, Endpoint, Side, all_sides, engine_of, served
from targets import CONCURRENCY

#: Rounds of each number of concurrent requests: more where a target is compared.
ROUNDS = {1: 1, 8: 1, 32: 3, 128: 1}
QUICK_ROUNDS = {1: 1, 32: 1}
#: Seconds of a turn: with 128 requests at once, the slowest side takes five for one of them.
TURN_S = {1: 3.0, 8: 4.0, 32: 4.0, 128: 12.0}
QUICK_SHARE = 0.5
ALONE_S = 2.0
COST_S = 0.5
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
LATENCY_ROUNDS, LATENCY_IMAGES = 8, 15


@dataclass(frozen=True)
class Due:
    """A turn that is to be measured.

    Attributes:
        side: whose.
        tool: what makes the load.
        beside: as ``Turn``'s.
    """

    side: Side
    tool: str
    beside: str = ""

    @property
    def values(self) -> dict[str, str]:
        """What tells its record from others of the same round."""
        return {"side": self.side.key, "tool": self.tool, "beside": self.beside}


def tool_of(side: Side) -> str:
    """What makes the load for a side."""
    return "http" if side.kind in ("litserve", "fastapi", "bentoml") else "perf_analyzer"


class OutOfTimeError(Exception):
    """What was asked for as the longest run is over; what was measured is in the file."""


class Run:
    """One run of the benchmark.

    Args:
        network: which network all sides serve.
        sides: who is measured.
        peers_python: the interpreter of the peers' environment.
        output: the file of results; what is in it is not measured again.
        folder: for repositories, images and logs.
        quick: few rounds, half as long.
        stop_after_s: no turn begins later than that.

    Raises:
        ValueError: the file holds the results of another network.
    """

    def __init__(
        self,
        network: NetworkName,
        sides: list[Side],
        peers_python: Path,
        output: Path,
        folder: Path,
        *,
        quick: bool,
        stop_after_s: float,
    ) -> None:
        self.folder = folder
        self.end_s = time.monotonic() + stop_after_s
        self.share = QUICK_SHARE if quick else 1.0
        self.rounds = QUICK_ROUNDS if quick else ROUNDS
        self.peers_python = peers_python
        self.sides = sides
        output.parent.mkdir(parents=True, exist_ok=True)
        self.results = Results(output)
        self.jpegs = write_jpegs(folder / "jpegs")
        self.input_data = folder / "images.json"
        perf_analyzer.write_input_data(self.jpegs, self.input_data)
        cache = perf_analyzer.cache_folder()
        self.program = perf_analyzer.fetch_perf_analyzer(cache)
        self.repositories = {f"ours-{p}": folder / f"ours-{p}" for p in PRECISIONS}
        self.networks = {p: write_repository(network, p, self.repositories[f"ours-{p}"], cache) for p in PRECISIONS}
        for precision in PRECISIONS:
            plain = self.repositories[f"ours-onnxruntime-{precision}"] = folder / f"ours-onnxruntime-{precision}"
            write_repository(network, precision, plain, cache, accelerator=None)
        self.repositories["example-fp32"] = folder / "example"
        write_baseline(self.repositories["ours-fp32"], self.repositories["example-fp32"])
        if self.results.of("about") and self.results.one("about")["network"] != network:
            raise ValueError(f"{output} has the results of another network; next: another --output")
        if not self.results.of("about"):
            self.results.add("about", **about(network, self.jpegs))

    def measure(self) -> None:
        """Everything that is not in the file yet.

        Raises:
            OutOfTimeError: there is no time left for it.
        """
        self.results.add("sitting", began=datetime.now(timezone.utc).isoformat(timespec="seconds"))
        with ExitStack() as stack:
            rounds = itertools.product(range(1, max(self.rounds.values()) + 1), self.rounds)
            missing = {due.side for turn in rounds for due in self.missing_turns(*turn)}
            wanted = [side for side in self.sides if side in missing or self.missing_latency(side)]
            endpoints = {side: stack.enter_context(self.serve(side)) for side in wanted}
            self.measure_turns(endpoints)
            self.measure_latencies({side: endpoint for side, endpoint in endpoints.items() if side.kind == "ours"})
        self.measure_costs()

    def serve(self, side: Side) -> AbstractContextManager[Endpoint]:
        """Start a side's server, for as long as the context lasts."""
        tell(f"starting {side.key}")
        repository = self.repositories.get(side.key, self.repositories[f"ours-{side.precision}"])
        return served(side, repository, self.peers_python, self.folder / f"{side.key}.log")

    def turns(self, number: int, concurrency: int) -> list[Due]:
        """The turns of a round, in order.

        Where a target is compared, ours comes before each other side in odd rounds and after it in even ones: a
        machine that others use is not equally fast for long.
        """
        if number > self.rounds[concurrency]:
            return []
        if concurrency != CONCURRENCY:
            plain = [Due(side, tool_of(side)) for side in self.sides]
            return plain if number % 2 else plain[::-1]
        ours = {side.precision: side for side in self.sides if side.kind == "ours"}
        alone = [Due(side, "perf_analyzer", "alone") for side in ours.values()]
        pairs = []
        for side in ours.values():
            pairs.append([Due(side, "perf_analyzer", "client"), Due(side, "client")])
        for side in self.sides:
            if side.kind == "example":
                pairs.append([Due(own, "perf_analyzer", side.key) for own in ours.values()])
                pairs[-1].insert(1, Due(side, tool_of(side)))
            elif side.kind != "ours":
                beside = [Due(ours[side.precision], "perf_analyzer", side.key)] if side.precision in ours else []
                pairs.append([*beside, Due(side, tool_of(side))])
        paired = list(itertools.chain(*pairs))
        return alone + (paired if number % 2 else paired[::-1])

    def missing_turns(self, number: int, concurrency: int) -> list[Due]:
        """Those that are not in the file."""
        values = {"round": number, "concurrency": concurrency}
        return [due for due in self.turns(number, concurrency) if not self.results.of("turn", **due.values, **values)]

    def measure_turns(self, endpoints: dict[Side, Endpoint]) -> None:
        """Keep one server busy at a time."""
        for number in range(1, max(self.rounds.values()) + 1):
            for concurrency in self.rounds:
                if concurrency == CONCURRENCY:
                    self.measure_alone(number)
                for due in self.missing_turns(number, concurrency):
                    self.measure_turn(due, endpoints[due.side], number, concurrency)

    def measure_turn(self, due: Due, endpoint: Endpoint, number: int, concurrency: int) -> None:
        """Measure and write one turn; one in which a peer refuses requests is left out."""
        side, tool = due.side, due.tool
        self.check_time()
        try:
            with endpoint.awake():
                load = self.load(endpoint, tool, concurrency)
        except RuntimeError as error:  # perf_analyzer's, too
            if side.kind == "ours":
                raise
            reason = str(error).strip().splitlines()[-1]  # a peer that cannot keep up does not end the others' run
            tell(f"round {number}, {concurrency} at once, {side.key} ({tool}): failed and left out: {reason}")
            return
        self.results.add_turn(Turn(side.key, tool, concurrency, number, load, due.beside))
        tell(f"round {number}, {concurrency} at once, {side.key} ({tool}): {load.images_per_s:.1f} images/s")

    def load(self, endpoint: Endpoint, tool: str, concurrency: int) -> Load:
        """Keep a server busy for one turn."""
        seconds = self.share * TURN_S[concurrency]
        if tool == "perf_analyzer":
            address = endpoint.url.removeprefix("grpc://")
            return perf_analyzer.measure(
                self.program,
                address,
                self.input_data,
                seconds=seconds,
                concurrency=concurrency,
                server_pid=endpoint.pid,
            )
        command = [sys.executable, str(Path(__file__).with_name("load.py")), endpoint.url, f"--seconds={seconds}"]
        command += [f"--jpegs={self.folder / 'jpegs'}", f"--concurrency={concurrency}", f"--server-pid={endpoint.pid}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 90)
        if done.returncode:
            raise RuntimeError(f"the load on {endpoint.url} failed: {done.stdout}{done.stderr}")
        return Load(**json.loads(done.stdout))

    def measure_alone(self, number: int) -> None:
        """The network and decoding, between the turns that they bound."""
        seconds = self.share * ALONE_S
        for precision in self.precisions():
            self.measure_network(precision, (1, 32), number, seconds)
        if not self.results.of("alone", work="decode", round=number):
            size = NetworkAlone(self.networks["int8"], "openvino").size
            self.add_alone(decoded_per_s(self.jpegs, size, seconds), work="decode", round=number)

    def measure_network(self, precision: str, batch_sizes: Sequence[int], number: int, seconds: float) -> None:
        """The network alone, in each engine and at each size of the batch that is not in the file yet."""
        engines = {engine: NetworkAlone(self.networks[precision], engine) for engine in ENGINES}
        for batch_size in batch_sizes:
            for engine, network in engines.items():
                values = {"precision": precision, "engine": engine, "batch_size": batch_size, "round": number}
                if not self.results.of("alone", **values):
                    self.check_time()
                    self.add_alone(network.images_per_s(batch_size, seconds), work="network", **values)

    def precisions(self) -> list[str]:
        """Those of the sides that are measured."""
        return list(dict.fromkeys(side.precision for side in self.sides))

    def add_alone(self, images_per_s: float, **values: str | int) -> None:
        """Write a rate of work without a server."""
        self.results.add("alone", **values, images_per_s=images_per_s)
        tell(f"alone, {' '.join(str(value) for value in values.values())}: {images_per_s:.1f} images/s")

    def measure_latencies(self, endpoints: dict[Side, Endpoint]) -> None:
        """One request at a time, through the server and in this process, in turns."""
        for side, endpoint in endpoints.items():
            if not self.missing_latency(side):
                continue
            self.check_time()
            address = endpoint.url.removeprefix("grpc://")
            network = NetworkAlone(self.networks[side.precision], engine_of(side.key))
            seconds = measure_latency(address, network, self.jpegs, rounds=LATENCY_ROUNDS, images=LATENCY_IMAGES)
            in_process, server = map(spread, seconds)
            self.results.add(
                "latency", precision=side.precision, in_process=asdict(in_process), server=asdict(server),
                ratio=server.p50 / in_process.p50,
            )  # fmt: skip

    def missing_latency(self, side: Side) -> bool:
        """Whether the latency of one request at a time is to be compared and is not in the file."""
        return side.kind == "ours" and not self.results.of("latency", precision=side.precision)

    def measure_costs(self) -> None:
        """How the cost grows with the batch and with the image, without a server."""
        for precision in self.precisions():
            self.measure_network(precision, BATCH_SIZES, 1, COST_S)
        if self.results.of("size"):
            return
        size = NetworkAlone(self.networks["int8"], "openvino").size
        photograph = max(PHOTOGRAPHS.glob("*.jpg"), key=lambda path: path.stat().st_size)
        for megapixels, path in write_sizes(photograph, self.folder / "sizes").items():
            self.check_time()
            seconds = decode_s(path, size, runs=5 if megapixels > 2 else 20)
            self.results.add("size", megapixels=megapixels, bytes=path.stat().st_size, decode_s=seconds)

    def measure_settings(self) -> None:
        """Each peer with each of its settings, in FP32: what BEST in sides.py is chosen from."""
        for kind in dict.fromkeys(side.kind for side in self.sides if side.kind in ALTERNATIVES):
            side = next(side for side in self.sides if side.kind == kind)
            for settings in ALTERNATIVES[kind]:
                if self.results.of("setting", side=side.key, settings=json.dumps(settings)):
                    continue
                self.check_time()
                with self.serve(replace(side, settings=settings)) as endpoint, endpoint.awake():
                    load = self.load(endpoint, tool_of(side), CONCURRENCY)
                self.results.add("setting", side=side.key, settings=json.dumps(settings), load=asdict(load))
                tell(f"{side.key} with {settings}: {load.images_per_s:.1f} images/s")

    def check_time(self) -> None:
        """Stop when the run has lasted long enough."""
        if time.monotonic() > self.end_s:
            raise OutOfTimeError


def about(network: str, jpegs: list[Path]) -> dict:
    """What was measured, and on what."""
    return {
        "network": network,
        "cores": cores(),
        "jpeg_size": SIZE,
        "jpeg_bytes": asdict(spread([path.stat().st_size for path in jpegs])),
        "machine": asdict(this_machine()),
        "peer_settings": BEST,
        "names": {side.key: f"{side.name}, {side.precision.upper()}" for side in all_sides()},
    }


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
