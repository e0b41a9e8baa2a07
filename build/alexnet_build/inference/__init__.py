"""Inference without a server: pixels in, probabilities out, synchronously or with several batches in flight.

::

    open_session(model.plan) ─> PlanSession ─ DeviceSession ─┬─ Slot ─┬─ DeviceEngine ─┬─ PlanEngine    TensorRT
                                     │                       └─ Slot ─┘  enqueues      └─ TorchEngine   torch
                                     │        stream, pinned buffers, CUDA graphs        one batch
    open_session(model.onnx) ─> OnnxSession ─ ONNX Runtime
                                     │
                                  Session: infer(), submit() ─> Pending: done(), result()

Heavy libraries are imported by the module that needs them, so this package can be imported without any.
"""

from alexnet_build.inference.opening import open_session
from alexnet_build.inference.session import Pending, Session

__all__ = ["Pending", "Session", "open_session"]
