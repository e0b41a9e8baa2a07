"""Images a second of servers that are kept busy in turn, so that whatever else the machine does meets all.

In: running servers by name. Out: their ``Load`` of every round. Called by ensemble.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from alexnet_server import RunningServer
from load import Load


def measure_throughput(
    servers: Mapping[str, RunningServer],
    jpegs: Path,
    *,
    rounds: int,
    seconds: float,
    concurrency: int,
    tell: Callable[[str], None] = lambda message: None,
) -> dict[str, list[Load]]:
    """Keep one server busy at a time; every other round goes through them backwards (A B, B A, ...).

    Args:
        servers: those to compare; all stay loaded, and idle while it is not their turn.
        jpegs: folder of the images that are sent.
        rounds: how often each has its turn.
        seconds: how long a turn is measured, after one second of warm-up.
        concurrency: requests under way at once.
        tell: hears what was measured.
    """
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for number in range(rounds):
        for name in list(servers)[:: 1 if number % 2 == 0 else -1]:
            load = load_of(servers[name], jpegs, seconds=seconds, concurrency=concurrency)
            loads[name].append(load)
            tell(f"round {number + 1} of {rounds}, {name}: {load.images_per_s:.1f} images/s")
    return loads


def load_of(server: RunningServer, jpegs: Path, *, seconds: float, concurrency: int) -> Load:
    """Keep one server busy from another process.

    Raises:
        RuntimeError: an image failed, or the generator did.
    """
    command = [
        sys.executable,
        str(Path(__file__).with_name("load.py")),
        f"--url={server.grpc_url}",
        f"--jpegs={jpegs}",
        f"--seconds={seconds}",
        f"--concurrency={concurrency}",
        f"--server-pid={server.pid}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise RuntimeError(f"the load on {server.grpc_url} failed: {done.stdout}{done.stderr}")
    return Load(**json.loads(done.stdout))
