"""An FP32 graph to one whose convolutions and matrix products compute in INT8, for ONNX Runtime on CPUs.

In: ``model.onnx`` in FP32 and photographs. Out: the same graph with explicit quantise and dequantise nodes (QDQ):
weights in 7 bits per output channel, activations in 8 bits from the smallest to the largest value seen on the
photographs; normalisation and softmax stay in FP32. The metadata, by which the file describes itself, is kept. Called
by ``engine``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.precision.calibration import CalibrationReader, quiet_quantiser


def int8_for_cpu(onnx_file: Path, pixels: np.ndarray, output: Path, *, keep: Sequence[str] = ()) -> None:
    """Quantise a graph.

    Args:
        onnx_file: The FP32 graph.
        pixels: (N, S, S, 3) uint8, what activations are calibrated on.
        output: Where the INT8 graph goes.
        keep: Names of nodes that stay in FP32.

    Raises:
        EngineError: ONNX Runtime could not quantise the graph.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        with tempfile.TemporaryDirectory() as scratch, quiet_quantiser():
            inferred = Path(scratch) / "inferred.onnx"
            quant_pre_process(str(onnx_file), str(inferred), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(inferred),
                str(output),
                CalibrationReader(pixels),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                # 7 bits: without VNNI, the sum of two 8-bit products overflows 16 bits and saturates.
                reduce_range=True,
                op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Relu"],
                nodes_to_exclude=list(keep),
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise EngineError(f"ONNX Runtime could not quantise the graph: {error}") from error
