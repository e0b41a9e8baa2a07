"""Everything that is known of an engine: the class ``Inspection``.

Made by ``inspect_onnx``, ``inspect_plan`` and ``inspect_torch``; read by the report and the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alexnet_build.errors import EngineError
from alexnet_build.insight.ceilings import Ceilings
from alexnet_build.insight.latency import Timing
from alexnet_build.insight.layers import Layer

DEFAULT_BATCH_SIZES = (1, 8, 32, 64)


@dataclass(frozen=True)
class InspectOptions:
    """What is measured.

    Attributes:
        batch_sizes: In rising order; None for those of ``DEFAULT_BATCH_SIZES`` that an engine takes.
        repeats: Batches that are timed, for each batch size and way.
        threads: Of the CPU.
    """

    batch_sizes: tuple[int, ...] | None
    repeats: int
    threads: int

    def sizes_within(self, smallest: int, largest: int, source: str) -> tuple[int, ...]:
        """The batch sizes for an engine that takes ``smallest`` to ``largest``.

        Raises:
            EngineError: One was asked for that it does not take.
        """
        if self.batch_sizes is None:
            fitting = {size for size in DEFAULT_BATCH_SIZES if smallest <= size <= largest}
            return tuple(sorted(fitting or {largest}))
        refused = [str(size) for size in self.batch_sizes if not smallest <= size <= largest]
        if refused:
            raise EngineError(
                f"{source} takes batches of {smallest} to {largest}, and not of {', '.join(refused)}; "
                "give --batch-sizes within that"
            )
        return self.batch_sizes


@dataclass(frozen=True)
class Inspection:
    """An engine, looked into and measured.

    Attributes:
        source: The file or the weights.
        engine: What ran it, with its version: ``ONNX Runtime 1.32.0``.
        device: Where: the GPU's or the processor's name, and the number of threads of the latter.
        image_size: Side S of the pixels.
        classes: Number of classes C.
        repeats: Batches that were timed, for each batch size and way.
        timings: Latency and throughput, one a batch size.
        layers: By batch size: the layers in the order of execution; each has a name of its own, the same at each size.
        memory: Bytes by what they are for; see docs/insight.md.
        facts: Whatever else the engine says of itself.
        ceilings: The machine's, measured.
        published: The card's, by its vendor; None where they are not known.
    """

    source: str
    engine: str
    device: str
    image_size: int
    classes: int
    repeats: int
    timings: tuple[Timing, ...]
    layers: Mapping[int, tuple[Layer, ...]]
    memory: Mapping[str, int]
    facts: Mapping[str, str]
    ceilings: Ceilings
    published: Ceilings | None = None

    def milliseconds(self, batch_size: int) -> dict[str, float]:
        """The time of each layer by its name."""
        return {layer.name: layer.milliseconds or 0.0 for layer in self.layers[batch_size]}

    @property
    def largest_batch(self) -> int:
        """The batch size that tables of layers and pictures show."""
        return max(self.layers)
