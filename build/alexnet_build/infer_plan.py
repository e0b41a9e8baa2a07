"""Runs a TensorRT plan on the GPU of this machine, to verify it before it is published.

In: serialised engine bytes. Out: a function from pixels to probabilities. Buffers are torch tensors on the GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.plan_from_onnx import Plan, import_tensorrt
from alexnet_build.tensors import PIXELS, PROBABILITIES

if TYPE_CHECKING:
    from alexnet_build.verify import Infer


def plan_infer(plan: Plan, classes: int) -> Infer:
    """Load a plan that was built on this machine.

    Args:
        plan: The engine.
        classes: Number of classes C of its output.

    Returns:
        (N, S, S, 3) uint8 pixels to (N, C) float32 probabilities; one call at a time.

    Raises:
        EngineError: TensorRT cannot load the plan, or a call fails.
    """
    import torch

    trt = import_tensorrt(plan.builder)
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(plan.content)
    if engine is None:
        raise EngineError(f"TensorRT {trt.__version__} cannot load the plan that it has just built")
    context = engine.create_execution_context()

    def infer(pixels: np.ndarray) -> np.ndarray:
        on_gpu = torch.from_numpy(np.ascontiguousarray(pixels)).cuda()  # (N, S, S, 3) uint8
        probabilities = torch.full((len(pixels), classes), torch.nan, device="cuda")  # NaN shows what is not written
        context.set_input_shape(PIXELS, tuple(on_gpu.shape))
        context.set_tensor_address(PIXELS, on_gpu.data_ptr())
        context.set_tensor_address(PROBABILITIES, probabilities.data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise EngineError(f"the plan failed on a batch of {len(pixels)}")
        stream.synchronize()
        return probabilities.cpu().numpy()

    return infer
