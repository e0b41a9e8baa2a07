"""Which settings of the models' configs are best on this machine: variants of a repository served in turns.

    python benchmarks/settings.py --repository DIR
    python benchmarks/settings.py --repository DIR --variant alexnet.instances=2,alexnet.max_queue_delay_us=0

A setting is MODEL.NAME=VALUE: instances, max_queue_delay_us, preferred_batch_size, or any of the model's
parameters. A variant is settings joined by commas. The repository is copied and left as it is. Results are on
stdout.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from alexnet_client import Classifier
from alexnet_server import running_server
from configs import config_of, write_config
from figures import Spread, spread
from jpegs import write_jpegs
from latency import seconds_each
from report import new_console, new_table
from throughput import measure_throughput

AS_BUILT = "as built"
VARIANTS = (
    "preprocess.instances=1",  # its threads then take all cores
    "preprocess.instances=1,preprocess.DECODE_THREADS=1",
    "preprocess.instances=3",
    "alexnet.max_queue_delay_us=0",
    "alexnet.max_queue_delay_us=1000",
    "alexnet.max_queue_delay_us=5000",
    "alexnet.max_queue_delay_us=5000,alexnet.preferred_batch_size=8",
    "alexnet.intra_op_thread_count=1",
    "alexnet.instances=2",  # a core each
    "alexnet.instances=2,alexnet.intra_op_thread_count=2",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, help="made by alexnet-build")
    parser.add_argument("--variant", action="append", metavar="SETTINGS", help="instead of the usual ones")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each variant (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of a turn of throughput (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once (%(default)s)")
    options = parser.parse_args()
    variants = [AS_BUILT, *(options.variant or VARIANTS)]

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alexnet-benchmark-")))
        jpegs = write_jpegs(folder / "jpegs")
        servers = {}
        for number, variant in enumerate(variants):
            copy = folder / f"repository-{number}"
            shutil.copytree(options.repository, copy, symlinks=True)
            if variant != AS_BUILT:
                apply_settings(copy, variant)
            servers[variant] = stack.enter_context(running_server(copy))
            tell(f"started: {variant}")
        latencies = measure_latencies({name: server.grpc_url for name, server in servers.items()}, jpegs)
        loads = measure_throughput(
            servers,
            folder / "jpegs",
            rounds=options.rounds,
            seconds=options.seconds,
            concurrency=options.concurrency,
            tell=tell,
        )

    table = new_table(
        f"{options.concurrency} concurrent requests; one at a time",
        *("images/s", "min", "max", "images/core s", "others' cores", "one: p50 ms", "p99 ms"),
    )
    for variant in variants:
        rounds = loads[variant]
        images_per_s = spread([load.images_per_s for load in rounds])
        table.add_row(
            variant,
            *(f"{value:.1f}" for value in (images_per_s.p50, images_per_s.min, images_per_s.max)),
            f"{spread([load.images_per_s / load.server_cores for load in rounds]).p50:.1f}",
            f"{spread([load.other_cores for load in rounds]).p50:.2f}",
            *(f"{seconds * 1e3:.1f}" for seconds in (latencies[variant].p50, latencies[variant].p99)),
        )
    new_console().print(table)
    return 0


def apply_settings(repository: Path, variant: str) -> None:
    """Write a variant's settings into the configs of a repository.

    Raises:
        ValueError: a setting is not MODEL.NAME=VALUE.
    """
    for setting in variant.split(","):
        path, _, value = setting.partition("=")
        model, _, name = path.partition(".")
        if not (model and name and value):
            raise ValueError(f"expected MODEL.NAME=VALUE, got {setting!r}")
        config = config_of(repository, model)
        if name == "instances":
            config.instance_group[0].count = int(value)
        elif name == "max_queue_delay_us":
            config.dynamic_batching.max_queue_delay_microseconds = int(value)
        elif name == "preferred_batch_size":
            config.dynamic_batching.preferred_batch_size[:] = [int(value)]
        else:
            config.parameters[name].string_value = value
        write_config(repository, config)


def measure_latencies(
    urls: dict[str, str], jpegs: list[Path], *, rounds: int = 5, images: int = 10
) -> dict[str, Spread]:
    """Seconds of one request at a time, a block of them at each server in turn."""
    with ExitStack() as stack:
        classifiers = {name: stack.enter_context(Classifier(url)) for name, url in urls.items()}
        for classifier in classifiers.values():
            seconds_each(classifier.classify, jpegs[:3])  # warm-up
        seconds: dict[str, list[float]] = {name: [] for name in urls}
        source = itertools.cycle(jpegs)
        for _ in range(rounds):
            block = list(itertools.islice(source, images))
            for name, classifier in classifiers.items():
                seconds[name] += seconds_each(classifier.classify, block)
    return {name: spread(values) for name, values in seconds.items()}


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
