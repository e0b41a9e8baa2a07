"""Measures turns with ``load`` processes, and knows what the right answers are.

In: a server's address and photographs. Out: a ``Turn`` each time it is asked. Called by ``run``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alexnet_build.tuning.compare import Turn
from alexnet_build.tuning.errors import TuningError

#: Two classes closer than this may change places with the batch that a photograph happens to be computed in.
CLEAR_LEAD = 0.02
SINGLES = 10
#: How much longer than asked for an order may take before the generator is given up: a queue has to run dry.
PATIENCE_S = 120
#: One process sends about 2,000 photographs a second; a server with more cores than this may take more.
CORES_A_GENERATOR = 8


def expected_answers(url: str, photographs: Sequence[Path]) -> list[tuple[Path, int | None]]:
    """Each photograph with the index of its first class, None where the second class is too close.

    Raises:
        TuningError: The server does not answer, or not for one of these photographs.
    """
    from alexnet_client import AlexNetClientError, Classifier

    expected = []
    try:
        with Classifier(url) as classifier:
            for path in photographs:
                best, *others = classifier.classify(path, top_k=2)
                clear = all(best.score - other.score > CLEAR_LEAD for other in others)
                expected.append((path, best.index if clear else None))
    except AlexNetClientError as error:
        raise TuningError(f"the server at {url} does not classify as it is: {error}") from error
    return expected


class Generator:
    """Processes that send photographs, together as many at once as asked for.

    Args:
        processes: Running ``load`` processes that have their photographs.
        concurrency: Requests under way at once, of all of them together.
        turn_s: How long a turn counts.
        warm_up_s: How long it is kept busy before that.
    """

    def __init__(
        self, processes: Sequence[subprocess.Popen[str]], *, concurrency: int, turn_s: float, warm_up_s: float
    ) -> None:
        self._processes = processes
        self._concurrency = concurrency
        self._turn_s = turn_s
        self._warm_up_s = warm_up_s

    def turn(self) -> Turn:
        """Keep the server busy, then ask it one thing at a time.

        Raises:
            TuningError: Nothing came back, or a generator is gone.
        """
        many = {"do": "many", "seconds": self._turn_s, "warm_up_s": self._warm_up_s}
        count = len(self._processes)
        shares = [self._concurrency // count + (number < self._concurrency % count) for number in range(count)]
        for process, share in zip(self._processes, shares, strict=True):
            self._order(process, {**many, "concurrency": share})
        counted = [self._answer(process) for process in self._processes]
        self._order(self._processes[0], {"do": "singles", "count": SINGLES})
        single = self._answer(self._processes[0])
        latencies_s = sorted(latency_s for each in counted for latency_s in each["latencies_s"])
        failed, wrong = (sum(each[name] for each in (*counted, single)) for name in ("failed", "wrong"))
        return Turn(
            images=len(latencies_s),
            images_per_s=sum(len(each["latencies_s"]) / each["seconds"] for each in counted),
            p50_s=statistics.median(latencies_s),
            p99_s=latencies_s[math.ceil(len(latencies_s) * 0.99) - 1],  # nearest rank
            one_p50_s=statistics.median(single["latencies_s"]),
            failed=failed,
            wrong=wrong,
            error=next((each["error"] for each in (*counted, single) if each["error"]), ""),
            generator_cores=sum(each["cores"] for each in counted),
        )

    def _order(self, process: subprocess.Popen[str], order: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise TuningError(f"the process that sends photographs ended with {process.wait()}") from error

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        watchdog = threading.Timer(self._turn_s + self._warm_up_s + PATIENCE_S, process.kill)
        watchdog.daemon = True  # an interruption may come before the cancel is certain
        try:
            watchdog.start()
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise TuningError(f"the process that sends photographs ended with {process.wait()}")
        return json.loads(line)


@contextlib.contextmanager
def running_generator(
    url: str,
    photographs: Sequence[tuple[Path, int | None]],
    *,
    concurrency: int,
    turn_s: float,
    warm_up_s: float,
    processes: int | None = None,
) -> Iterator[Generator]:
    """Start the processes; they end with the context.

    Args:
        url: HOST:PORT of the server's gRPC service.
        photographs: What ``expected_answers`` says.
        concurrency: Requests under way at once.
        turn_s: Seconds that a turn counts.
        warm_up_s: Seconds of requests before that.
        processes: How many; None: as this machine's cores allow.
    """
    count = min(concurrency, processes or max(1, len(os.sched_getaffinity(0)) // CORES_A_GENERATOR))
    first = json.dumps({"photographs": [[str(path.absolute()), index] for path, index in photographs]}) + "\n"
    # A group of their own: Ctrl-C in a terminal is for the search, which then puts the server's settings back.
    command = [sys.executable, "-m", "alexnet_build.tuning.load", f"--url={url}"]
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            stack.callback(_end, process)
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(first)
            process.stdin.flush()
        yield Generator(started, concurrency=concurrency, turn_s=turn_s, warm_up_s=warm_up_s)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.kill()  # it has nothing to finish
    process.wait()
    process.stdout.close()
