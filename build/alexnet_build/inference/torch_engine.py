"""A network in torch as a ``DeviceEngine``: what runs where there is no plan, on a GPU or on the CPU.

In: a ``TrainedNetwork``. Out: something that ``DeviceSession`` runs. It is the graph that ONNX files are exported from.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from alexnet_build.errors import EngineError
from alexnet_build.network import ServingGraph
from alexnet_build.weights import TrainedNetwork


class TorchEngine:
    """torch in eager mode.

    It keeps no state between batches, so all slots share it. Whether FP32 may round to TF32 is torch's global setting.

    Args:
        trained: The network; it is left as it is.
        max_batch: Largest batch.
        precision: ``fp16``, on a GPU, runs the network itself in FP16; softmax stays in FP32.
        device: Without it, the GPU if there is one.

    Raises:
        EngineError: FP16 on a CPU.
    """

    min_batch = 1

    def __init__(
        self,
        trained: TrainedNetwork,
        *,
        max_batch: int = 64,
        precision: Literal["fp32", "fp16"] = "fp32",
        device: torch.device | str | None = None,
    ) -> None:
        wanted = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if wanted.type == "cuda" and wanted.index is None:
            wanted = torch.device("cuda", torch.cuda.current_device())
        if precision == "fp16" and wanted.type == "cpu":
            raise EngineError("torch has no fast FP16 on a CPU; expected fp32 there, or a GPU")
        self.device, self.max_batch, self.source = wanted, max_batch, trained.source
        self.image_size, self.classes = trained.spec.image_size, trained.spec.classes
        dtype = torch.float16 if precision == "fp16" else torch.float32
        self.graph = ServingGraph(copy.deepcopy(trained.network), trained.spec, dtype=dtype, merge=True).eval()
        self.graph.to(wanted)
        if wanted.type == "cuda":
            # Pixels arrive with channels last, as tensor cores like it; other weights would be turned for each batch.
            self.graph.to(memory_format=torch.channels_last)
            torch.cuda.synchronize(wanted)  # the weights are there before another stream reads them

    def enqueuer(self, captured: Sequence[int]) -> TorchEngine:
        """Itself; see ``DeviceEngine.enqueuer``."""
        return self

    def enqueue(self, pixels: Tensor, probabilities: Tensor, stream: torch.cuda.Stream | None) -> None:
        """Put one batch on the stream; see ``Enqueue.enqueue``."""
        on_stream = contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)
        with on_stream, torch.inference_mode():
            probabilities.copy_(self.graph(pixels))
