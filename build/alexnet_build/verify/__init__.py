"""Compares what will be served with torch, on photographs, before anybody is served by it.

    photographs ─> views ─┬─ torch in FP32 ──────────┐
                          ├─ the graph, on the CPU ──┼─> parity ─> limits of the precision ─> manifest, or worst.png
                          └─ the engine ─────────────┘

Called by ``engine``, by ``alexnet-build verify``, and by ``precision`` to find the layers that must not be rounded.
"""

from alexnet_build.verify.answers import (
    Infer,
    graph_infer,
    onnxruntime_infer,
    openvino_infer,
    simulated_infer,
    torch_probabilities,
    triton_infer,
)
from alexnet_build.verify.limits import LIMITS, Limits, check_parity
from alexnet_build.verify.parity import Parity, Worst, parity
from alexnet_build.verify.views import PHOTOGRAPHS, Views, photographs_in, views_from_photographs
from alexnet_build.verify.worst import write_worst

__all__ = [
    "LIMITS",
    "PHOTOGRAPHS",
    "Infer",
    "Limits",
    "Parity",
    "Views",
    "Worst",
    "check_parity",
    "graph_infer",
    "onnxruntime_infer",
    "openvino_infer",
    "parity",
    "photographs_in",
    "simulated_infer",
    "torch_probabilities",
    "triton_infer",
    "views_from_photographs",
    "write_worst",
]
