"""What a network has to offer so that ``DeviceSession`` can run it: the protocols ``DeviceEngine`` and ``Enqueue``.

Implemented by ``PlanEngine`` (TensorRT) and ``TorchEngine`` (torch). Streams, buffers and CUDA graphs are the
session's; an engine does nothing but put one batch on a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Enqueue(Protocol):
    """Puts batches of one slot on its stream; never called for two batches at once."""

    def enqueue(self, pixels: Tensor, probabilities: Tensor, stream: torch.cuda.Stream | None) -> None:
        """Put one batch on the stream; returns at once on a GPU, and with the answer on a CPU.

        The call may be recorded into a CUDA graph, so it must allocate nothing that a replay would miss, and must not
        wait for the device. It is called once for a batch size before it is recorded with it.

        Args:
            pixels: (N, S, S, 3) uint8 on the engine's device.
            probabilities: (N, C) float32 on the engine's device; every element is written.
            stream: Where the work goes; None on a CPU.

        Raises:
            EngineError: The batch could not be enqueued.
        """


class DeviceEngine(Protocol):
    """A network on a device.

    Attributes:
        device: Where it runs: a CUDA device, or the CPU.
        min_batch: Smallest batch; smaller ones are filled up by the session.
        max_batch: Largest batch.
        image_size: Side S of the pixels.
        classes: Number of classes C.
        source: What it was loaded from, for messages.
    """

    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def min_batch(self) -> int: ...  # noqa: D102
    @property
    def max_batch(self) -> int: ...  # noqa: D102
    @property
    def image_size(self) -> int: ...  # noqa: D102
    @property
    def classes(self) -> int: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102

    def enqueuer(self, captured: Sequence[int]) -> Enqueue:
        """What enqueues the batches of one slot.

        Args:
            captured: Batch sizes that will be recorded into CUDA graphs.
        """
