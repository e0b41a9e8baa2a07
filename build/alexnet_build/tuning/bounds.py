"""Between which values each setting is searched, from what serves and on how many cores.

In: the engine, the cores, the load. Out: a ``Ladder`` a setting, the most promising first. Called by ``run``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from alexnet_build.configs import Engine
from alexnet_build.tuning.settings import Tuning

#: Copies of the network on one GPU; a second one fills the gaps of the first, further ones share the same GPU.
MAX_INSTANCES_A_GPU = 2
MAX_INSTANCES_ON_CPU = 8
#: A few processes more than cores do no harm: decoding waits for requests in between.
LEAST_INSTANCES = 4
QUEUE_DELAYS_US = (0, 200, 1000, 5000)


@dataclass(frozen=True)
class Ladder:
    """The values that one setting may take.

    Attributes:
        setting: Field of ``Tuning``.
        values: To choose from.
        ordered: Whether a worse neighbour means that what lies beyond it is worse, too; else each value is tried.
    """

    setting: str
    values: tuple[Any, ...]
    ordered: bool = True

    def neighbours(self, current: Any) -> list[list[Any]]:
        """What to try from here: ways to go, each for as long as it gets better."""
        if not self.ordered or current not in self.values:
            return [[value] for value in self.values if value != current]
        position = self.values.index(current)
        ways = [list(self.values[position + 1 :]), list(self.values[:position][::-1])]
        return [way for way in ways if way]


def ladders(engine: Engine, cores: int, max_batch: int, concurrency: int) -> tuple[Ladder, ...]:
    """The settings worth searching, in the order in which they are.

    Args:
        engine: What runs the network; TensorRT does so on a GPU, which leaves the cores to decoding.
        cores: Of the server's machine.
        max_batch: The models' largest batch.
        concurrency: Requests under way at once; no batch grows larger.
    """
    instances = counts(max(cores, LEAST_INSTANCES))
    threads = tuple(dict.fromkeys((1, max(1, cores // 2), cores)))
    # None as the last: without a preference a batch takes all that wait, which is what a very large one does.
    sizes = (*((size,) for size in (4, 8, 16, 32, 64, 128) if size < min(max_batch, concurrency)), ())
    preprocess = Ladder("preprocess_instances", instances)
    decode = Ladder("decode_threads", (None, *threads), ordered=False)
    batches = (Ladder("alexnet_batch_sizes", sizes), Ladder("max_queue_delay_us", QUEUE_DELAYS_US))
    preprocess_batches = Ladder("preprocess_batch_sizes", sizes)
    if engine == "tensorrt":
        copies = Ladder("alexnet_instances", counts(MAX_INSTANCES_A_GPU))
        return preprocess, copies, *batches, preprocess_batches, decode
    copies = Ladder("alexnet_instances", counts(min(cores, MAX_INSTANCES_ON_CPU)))
    intra_op = Ladder("intra_op_threads", (0, *threads), ordered=False)
    return copies, preprocess, intra_op, preprocess_batches, *batches, decode


def counts(most: int) -> tuple[int, ...]:
    """1 to 4, then doubling, and three quarters and all of ``most``."""
    doubling = [2**power for power in range(3, most.bit_length())]
    return tuple(sorted({count for count in (1, 2, 3, 4, *doubling, 3 * most // 4, most) if 0 < count <= most}))


def same_threads(first: Tuning, second: Tuning, cores: int) -> bool:
    """Whether two settings come to the same threads on this many cores, so that there is nothing to measure."""

    def explicit(tuning: Tuning) -> Tuning:
        decode = tuning.decode_threads or max(1, cores // tuning.preprocess_instances)
        intra_op = tuning.intra_op_threads or max(1, cores // tuning.alexnet_instances)
        return replace(tuning, decode_threads=decode, intra_op_threads=intra_op)

    return explicit(first) == explicit(second)
