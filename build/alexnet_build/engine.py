"""Makes and verifies the engine that a repository will serve.

In: a ``TrainedNetwork`` and what it should become. Out: an ``Engine``: the bytes to serve, and the evidence that
they agree with torch.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_build import configs
from alexnet_build.errors import EngineError
from alexnet_build.int8_from_onnx import calibration_pixels, int8_from_onnx
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.plan_from_onnx import PlanOptions, plan_from_onnx
from alexnet_build.verify import (
    Infer,
    Parity,
    check_parity,
    onnxruntime_infer,
    parity,
    pixels_to_compare,
    torch_probabilities,
)
from alexnet_build.weights import TrainedNetwork

Precision = Literal["fp32", "fp16", "int8"]

#: What each engine can compute in.
PRECISIONS: dict[configs.Engine, tuple[Precision, ...]] = {
    "tensorrt": ("fp32", "fp16"),
    "onnxruntime": ("fp32", "int8"),
}


@dataclass(frozen=True)
class Engine:
    """An engine that agrees with torch, and what it fits.

    Attributes:
        kind: ``tensorrt`` or ``onnxruntime``.
        content: The bytes of ``model.plan`` or ``model.onnx``.
        builder_version: Of TensorRT or ONNX Runtime.
        compute_capability: Of the GPU that a plan is for, e.g. ``8.6``; None on a CPU.
        precision: Arithmetic of the network itself.
        max_batch: Largest batch.
        onnx_sha256: Hash of the graph that the engine was made of.
        parity: How its answers compare with torch's.
    """

    kind: configs.Engine
    content: bytes
    builder_version: str
    compute_capability: str | None
    precision: Precision
    max_batch: int
    onnx_sha256: str
    parity: Parity


def verified_engine(
    trained: TrainedNetwork,
    kind: configs.Engine,
    precision: Precision,
    options: PlanOptions,
    photographs: Sequence[Path],
    calibration: Sequence[Path] = (),
) -> Engine:
    """Export, build and verify.

    Args:
        trained: The network.
        kind: What will run it.
        precision: Arithmetic of the network itself, one of ``PRECISIONS[kind]``.
        options: Batch range and, for a plan, memory and timing cache.
        photographs: Image files to compare the answers on.
        calibration: Image files that INT8's ranges are calibrated on; without them, crops of ``photographs``.

    Raises:
        EngineError: The combination does not exist, or a step failed.
        ParityError: The engine does not agree with torch.
    """
    if precision not in PRECISIONS[kind]:
        raise EngineError(
            f"there is no {precision} with --engine {kind}; expected --precision {' or '.join(PRECISIONS[kind])}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        onnx_file = Path(scratch) / "model.onnx"
        print(f"exporting {trained.source} to ONNX ({precision})", file=sys.stderr)
        onnx_from_network(trained, onnx_file, precision="fp16" if precision == "fp16" else "fp32")
        if precision == "int8":
            print("calibrating INT8", file=sys.stderr)
            int8_from_onnx(onnx_file, calibration_pixels(calibration or photographs, trained.spec), onnx_file)
        graph = onnx_file.read_bytes()
        capability, content, infer, version = None, graph, None, ""
        if kind == "tensorrt":
            content, version, capability, infer = _plan(onnx_file, options, trained.spec.classes)
        else:
            import onnxruntime

            infer, version = onnxruntime_infer(onnx_file), onnxruntime.__version__
    pixels, names = pixels_to_compare(photographs, trained.spec)
    print(f"comparing with torch on {len(names)} views of {len(photographs)} photographs", file=sys.stderr)
    found = parity(torch_probabilities(trained, pixels), infer, pixels, names, options.max_batch)
    check_parity(found, precision)
    print(
        f"top-1 agreement {found.top1_agreement:.2%}, largest probability difference "
        f"{found.max_probability_difference:.1e}",
        file=sys.stderr,
    )
    digest = hashlib.sha256(graph).hexdigest()
    return Engine(kind, content, version, capability, precision, options.max_batch, digest, found)


def _plan(onnx_file: Path, options: PlanOptions, classes: int) -> tuple[bytes, str, str, Infer]:
    from alexnet_build.infer_plan import plan_infer

    plan = plan_from_onnx(onnx_file, options)
    return plan.content, plan.version, plan.compute_capability, plan_infer(plan, classes)
