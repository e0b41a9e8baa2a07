"""A TensorRT plan as a ``DeviceEngine``: the only module that runs TensorRT.

In: a plan's bytes. Out: something that ``DeviceSession`` runs. The plan has to fit the GPU and the TensorRT of this
machine; one that does not is refused with what TensorRT said. Everything used here exists in TensorRT 10.13 to 11.x.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from alexnet_build.errors import EngineError, MissingDependencyError
from alexnet_build.plan_from_onnx import import_tensorrt
from alexnet_build.tensors import PIXELS, PROBABILITIES


class PlanEngine:
    """A deserialised plan.

    Args:
        content: The bytes of ``model.plan``.
        source: Where they come from, for messages.
        trust: Load a version-compatible plan, too. It holds code that runs on this machine's processor.
        device: The GPU; without it, torch's current one.
        builder: ``tensorrt``, or another module with its API.

    Raises:
        MissingDependencyError: There is no GPU or no TensorRT.
        EngineError: The plan does not fit this machine, or its input and output are not the contract's.
    """

    def __init__(
        self,
        content: bytes,
        *,
        source: str = "the plan",
        trust: bool = False,
        device: torch.device | None = None,
        builder: str = "tensorrt",
    ) -> None:
        if not torch.cuda.is_available():
            raise MissingDependencyError(
                f"{source} is a TensorRT plan, which runs on an NVIDIA GPU; torch finds none here"
            )
        self.trt = import_tensorrt(builder)
        self.source = source
        self.device = device or torch.device("cuda", torch.cuda.current_device())
        self.log = _error_log(self.trt)
        with torch.cuda.device(self.device):  # TensorRT loads to the current device
            self._runtime = self.trt.Runtime(self.log)
            self._runtime.engine_host_code_allowed = trust
            self.engine = self._runtime.deserialize_cuda_engine(content)
        if self.engine is None:
            raise EngineError(f"TensorRT {self.trt.__version__} cannot load {source}: {self.log.said()}")
        self._read_shapes()

    def _read_shapes(self) -> None:
        """Sizes and batch range; refuses a plan with other inputs and outputs."""
        trt, engine = self.trt, self.engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {name: (engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))) for name in names}
        try:
            (pixels_type, pixels), (probabilities_type, probabilities) = found[PIXELS], found[PROBABILITIES]
            _, side, width, channels = pixels
            _, classes = probabilities
        except (KeyError, ValueError):
            fits = False
        else:
            fits = (len(found), side, channels) == (2, width, 3)
            fits &= (pixels_type, probabilities_type) == (trt.DataType.UINT8, trt.DataType.FLOAT)
        if not fits:
            described = ", ".join(f"{name} {kind} {list(shape)}" for name, (kind, shape) in found.items())
            raise EngineError(
                f"{self.source} has {described}; expected {PIXELS} UINT8 [N, S, S, 3] and {PROBABILITIES} FLOAT "
                "[N, C], as alexnet-build plan makes them of what alexnet-build onnx exports"
            )
        self.image_size, self.classes = side, classes
        smallest, _, largest = (tuple(shape) for shape in engine.get_tensor_profile_shape(PIXELS, 0))
        self.min_batch, self.max_batch = smallest[0], largest[0]

    def enqueuer(self, captured: Sequence[int]) -> PlanEnqueue:
        """Execution contexts for one slot; see ``DeviceEngine.enqueuer``."""
        return PlanEnqueue(self, captured)

    def close(self) -> None:
        """Free the engine; after everything that its ``enqueuer`` made."""
        self.engine = None
        self._runtime = None


class PlanEnqueue:
    """The execution contexts of one slot.

    A context must not be used by two streams at once, so each slot has its own. A graph is bound to the state that its
    context was in, so each recorded batch size has a context of its own, too; one more takes every other size. The
    contexts of a slot never run at the same time and share their scratch memory. (TensorRT makes each context's
    auxiliary streams itself, at its first, unrecorded run; they fork from and join the slot's stream.)

    Args:
        plan: The engine.
        captured: Batch sizes that will be recorded.
    """

    def __init__(self, plan: PlanEngine, captured: Sequence[int]) -> None:
        self._plan = plan
        # torch aligns memory to 512 bytes; TensorRT asks for 256
        self.scratch = torch.empty(max(plan.engine.device_memory_size_v2, 1), dtype=torch.uint8, device=plan.device)
        self._contexts = {batch: self._context() for batch in captured}
        self._other_sizes = self._context()
        self._bound: dict[int, tuple[int, int, int]] = {}

    def context_for(self, batch: int) -> Any:
        """The execution context that runs a batch size, to attach a profiler or an inspector to."""
        return self._contexts.get(batch, self._other_sizes)

    def _context(self) -> Any:
        trt, engine = self._plan.trt, self._plan.engine
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise EngineError(f"TensorRT made no execution context for {self._plan.source}: {self._plan.log.said()}")
        context.set_device_memory(self.scratch.data_ptr(), self.scratch.nbytes)
        return context

    def enqueue(self, pixels: Tensor, probabilities: Tensor, stream: torch.cuda.Stream | None) -> None:
        """Put one batch on the stream; see ``Enqueue.enqueue``."""
        assert stream is not None
        context = self.context_for(len(pixels))
        if not (self._bind(context, pixels, probabilities) and context.execute_async_v3(stream.cuda_stream)):
            raise EngineError(f"{self._plan.source} failed on a batch of {len(pixels)}: {self._plan.log.said()}")

    def _bind(self, context: Any, pixels: Tensor, probabilities: Tensor) -> bool:
        """Tell a context shape and addresses; nothing while they stay, for a change takes an unrecorded run."""
        wanted = (len(pixels), pixels.data_ptr(), probabilities.data_ptr())
        if self._bound.get(id(context)) == wanted:
            return True
        bound = (
            context.set_input_shape(PIXELS, tuple(pixels.shape))
            and context.set_tensor_address(PIXELS, wanted[1])
            and context.set_tensor_address(PROBABILITIES, wanted[2])
        )
        if bound:
            self._bound[id(context)] = wanted
        return bound


def _error_log(trt: ModuleType) -> Any:
    class ErrorLog(trt.ILogger):  # type: ignore[name-defined]
        """Keeps the last errors for the message of an exception; TensorRT calls it from several threads."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors.append(message.strip())

        def said(self) -> str:
            """What it said since the last time."""
            lines = [self._errors.popleft() for _ in range(len(self._errors))]
            return "; ".join(lines) or "it gave no reason"

    return ErrorLog()
