"""An FP32 graph to one whose convolutions and matrix products compute in INT8, for ONNX Runtime on CPUs.

In: ``model.onnx`` in FP32 and photographs. Out: the same graph with explicit quantise and dequantise nodes (QDQ):
weights in 7 bits per output channel, activations in 8 bits with ranges calibrated on the photographs; normalisation
and softmax stay in FP32. The metadata, by which the file describes itself, is kept.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.network import NetworkSpec
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.tensors import PIXELS

#: Photographs that activations are calibrated on; ranges hardly move beyond a hundred.
CALIBRATION_COUNT = 96
_BATCH = 8


def int8_from_onnx(onnx_file: Path, pixels: np.ndarray, output: Path) -> None:
    """Quantise a graph.

    Args:
        onnx_file: The FP32 graph.
        pixels: (N, S, S, 3) uint8, what activations are calibrated on.
        output: Where the INT8 graph goes.

    Raises:
        EngineError: ONNX Runtime could not quantise the graph.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Calibration(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([pixels[i : i + _BATCH] for i in range(0, len(pixels), _BATCH)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {PIXELS: batch}

    level = logging.getLogger().level
    try:
        logging.getLogger().setLevel(logging.ERROR)  # the quantiser writes its advice to the root logger
        with tempfile.TemporaryDirectory() as scratch:
            inferred = Path(scratch) / "inferred.onnx"
            quant_pre_process(str(onnx_file), str(inferred), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(inferred),
                str(output),
                Calibration(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                # 7 bits: without VNNI, the sum of two 8-bit products overflows 16 bits and saturates.
                reduce_range=True,
                op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Relu"],
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise EngineError(f"ONNX Runtime could not quantise the graph: {error}") from error
    finally:
        logging.getLogger().setLevel(level)


def calibration_pixels(paths: Sequence[Path], spec: NetworkSpec) -> np.ndarray:
    """Pixels to calibrate on: photographs as they are served, or, where there are few, random crops of them.

    Args:
        paths: Image files.
        spec: Names S and the short side before the crop.

    Returns:
        (96 or fewer, S, S, 3) uint8; the same for the same files.
    """
    if len(paths) >= CALIBRATION_COUNT:
        chosen = paths[:: len(paths) // CALIBRATION_COUNT][:CALIBRATION_COUNT]
        return np.stack([pixels_from_photograph(p, spec.image_size, spec.resize_short_side) for p in chosen])
    import torch

    from alexnet_build.training.augment import Augmentation, augmented
    from alexnet_build.training.folders import Split
    from alexnet_build.training.images import square_photographs

    whole = square_photographs(Split(tuple(paths), (0,) * len(paths), ("",)), side=384)
    order = torch.arange(CALIBRATION_COUNT) % len(paths)
    crops = Augmentation(min_area=0.1, degrees=0, jitter=0.3, erase=0, mix=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = augmented(whole.pixels[order], whole.aspects[order], spec.image_size, crops)  # (96, 3, S, S)
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
