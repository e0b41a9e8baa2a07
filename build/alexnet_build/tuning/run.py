"""One tuning from beginning to end: a server, a search, the result in the repository.

In: ``Options``. Out: a ``Record``, and unless asked otherwise the repository's configs and tuning.json. Called by the
command ``alexnet-build tune``.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alexnet_build import __version__
from alexnet_build.tensors import ALEXNET
from alexnet_build.tuning.bounds import ladders, same_threads
from alexnet_build.tuning.compare import Rules, Trial, Turn
from alexnet_build.tuning.errors import TuningError
from alexnet_build.tuning.generator import expected_answers, running_generator
from alexnet_build.tuning.graphs import try_graphs
from alexnet_build.tuning.live import EXPLICIT_FLAGS, LiveServer, config_from_file
from alexnet_build.tuning.machine import Machine, this_machine
from alexnet_build.tuning.record import Record, write_tuning
from alexnet_build.tuning.search import Found, search
from alexnet_build.tuning.settings import Tuning

PHOTOGRAPHS = Path(__file__).parents[1] / "photographs"
MOST_PHOTOGRAPHS = 100
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "[::1]", "::1"}


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        repository: The model repository to tune.
        url: HOST:PORT of a server that serves it; None: one is started.
        concurrency: Requests under way at once.
        rules: When a candidate is taken.
        seconds: How long the search may take, the server's start included.
        turn_s: How long a turn counts.
        warm_up_s: Seconds of requests before that.
        settings: Which to search, fields of ``Tuning``; none: all.
        photographs: Folder of what is sent; None: those of the package.
        cores: Of the server's machine; None: those of this one.
        cuda_graphs: Whether to try them.
        dry_run: Write nothing.
        command: The command line, for the record.
    """

    repository: Path
    url: str | None = None
    concurrency: int = 32
    rules: Rules = field(default_factory=Rules)
    seconds: float = 300.0
    turn_s: float = 2.0
    warm_up_s: float = 0.5
    settings: tuple[str, ...] = ()
    photographs: Path | None = None
    cores: int | None = None
    cuda_graphs: bool = False
    dry_run: bool = False
    command: str = ""


def tune(options: Options, *, tell: Callable[[str], None], heard: Callable[[Trial], None]) -> Record:
    """Search the best settings on a running server, and write them into the repository.

    Whatever happens, the server has at the end the settings that the repository's files say.

    Args:
        options: What to do.
        tell: Hears of the steps.
        heard: Hears of every candidate.

    Raises:
        TuningError: It could not be done; the repository's files are as they were.
    """
    begun_s = time.monotonic()
    engine = _engine(options)
    machine = _machine(options)
    photographs = _photographs(options.photographs or PHOTOGRAPHS)
    with contextlib.ExitStack() as stack:
        if options.url is None:
            tell(f"starting a server on {options.repository}")
        url = options.url or stack.enter_context(_server(options.repository))
        server = stack.enter_context(LiveServer(url, options.repository))
        stack.enter_context(_settings_of_the_files_afterwards(server, others_use_it=options.url is not None))
        tell(f"Triton {server.version}, {machine}; up to {options.seconds / 60:g} minutes")
        generator = stack.enter_context(
            running_generator(
                url,
                expected_answers(url, photographs),
                concurrency=options.concurrency,
                turn_s=options.turn_s,
                warm_up_s=options.warm_up_s,
            )
        )

        def measure(tuning: Tuning) -> Turn:
            server.apply(tuning)
            return generator.turn()

        all_ladders = ladders(engine["engine"], machine.cores, server.max_batch, options.concurrency)
        found = search(
            replace(server.tuning, cuda_graphs=False),
            [ladder for ladder in all_ladders if not options.settings or ladder.setting in options.settings],
            measure,
            options.rules,
            seconds=options.seconds - (time.monotonic() - begun_s),
            skip=lambda best, candidate: same_threads(best, candidate, machine.cores),
            heard=heard,
        )
        _refuse_without_result(found, options)
        graphs = None
        if options.cuda_graphs:
            tell("comparing the answers with and without CUDA graphs")
            precision = engine["precision"] or ""
            graphs = try_graphs(server, found.best, photographs, measure, options.rules, precision=precision)
            tell(f"CUDA graphs {'on' if graphs.taken else 'off'}: {graphs.why}")
        elif server.tuning.cuda_graphs:
            tell("CUDA graphs were on and are off now: they are kept only where --cuda-graphs tests them again")
        record = Record(
            settings=replace(found.best, cuda_graphs=graphs.taken) if graphs else found.best,
            machine=machine,
            triton=server.version,
            engine=engine,
            load=_load(options, len(photographs)),
            found=found,
            graphs=graphs,
            measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            made_by=f"alexnet-triton {__version__}",
            command=options.command,
        )
        if not options.dry_run:
            write_tuning(options.repository, record)
    return record


def _refuse_without_result(found: Found, options: Options) -> None:
    if found.figures is None and found.complete:
        raise TuningError("there is no other value to try for these settings; leave --setting out to search all")
    if found.figures is None:
        raise TuningError(
            f"{options.seconds / 60:g} minutes were too few to compare one candidate; "
            "give more --minutes, or shorter turns with --turn-seconds"
        )
    limit_s = options.rules.max_p99_s
    if limit_s is not None and found.figures.p99_s > limit_s:
        raise TuningError(
            f"with the best settings found, the 99th percentile is {found.figures.p99_s * 1e3:.0f} ms, over the limit "
            f"of {limit_s * 1e3:.0f} ms; nothing was written. Give a lower --concurrency than {options.concurrency}, "
            "or a higher --max-p99-ms"
        )


def _load(options: Options, photographs: int) -> dict[str, Any]:
    return {
        "concurrency": options.concurrency,
        "photographs": photographs,
        "turn_s": options.turn_s,
        "warm_up_s": options.warm_up_s,
        "seconds": options.seconds,
        **asdict(options.rules),
    }


def _engine(options: Options) -> dict[str, Any]:
    """What runs the network, and what its newest version's manifest says of it, if there is one."""
    engine = config_from_file(options.repository, ALEXNET).backend
    if engine not in ("tensorrt", "onnxruntime"):
        raise TuningError(f"{options.repository} has a network for {engine!r}; expected tensorrt or onnxruntime")
    if options.cuda_graphs and engine != "tensorrt":
        raise TuningError(
            f"--cuda-graphs is for TensorRT, and {options.repository} is for {engine}; leave it out, or build with: "
            f"alexnet-build repository --engine tensorrt --output {options.repository}"
        )
    manifests = [path for path in (options.repository / ALEXNET).glob("*/manifest.json") if path.parent.name.isdigit()]
    newest = max(manifests, key=lambda path: int(path.parent.name), default=None)
    try:
        content = json.loads(newest.read_text(encoding="utf-8")) if newest else {}
    except (OSError, ValueError):
        content = {}  # an engine that somebody else made may have anything beside it
    return {"engine": engine, **{name: content.get(name) for name in ("precision", "engine_sha256")}}


def _machine(options: Options) -> Machine:
    here = this_machine()
    host = "localhost" if options.url is None else options.url.rpartition(":")[0]
    if host in _LOCAL_HOSTS:
        return replace(here, cores=options.cores or here.cores)
    if options.cores is None:
        raise TuningError(
            f"{options.url} is another machine, and how many cores it has cannot be asked of it; "
            "expected --cores N, which bounds how many processes are tried"
        )
    return Machine(options.cores, "", ())


def _photographs(directory: Path) -> list[Path]:
    found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise TuningError(f"{directory} has no photographs to send; give --photographs DIR")
    return found[:: -(-len(found) // MOST_PHOTOGRAPHS)]


@contextlib.contextmanager
def _server(repository: Path) -> Iterator[str]:
    from alexnet_server import ServerError, running_server

    try:
        with running_server(repository, triton_flags=EXPLICIT_FLAGS) as server:
            yield server.grpc_url
    except ServerError as error:
        raise TuningError(str(error)) from error


@contextlib.contextmanager
def _settings_of_the_files_afterwards(server: LiveServer, *, others_use_it: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if others_use_it:
            _put_back(server)
        raise
    _put_back(server)  # which also shows that what was written can be loaded


def _put_back(server: LiveServer) -> None:
    try:
        with _uninterrupted():
            server.restore()
    except TuningError as error:
        raise TuningError(
            f"the settings of the repository's files could not be put back: {error}\n"
            "  next: start the server again; it then reads the files"
        ) from error


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not leave somebody's server with a candidate's settings."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
