"""The photographs that activations are calibrated on, and the ranges that are found on them.

In: image files; an FP32 graph. Out: pixels; for each convolution and matrix product, the largest magnitude of its input
that is worth representing. Called by ``engine``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from alexnet_build.errors import DataError, EngineError
from alexnet_build.network import NetworkSpec
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.tensors import PIXELS

#: How a range is chosen: ``entropy`` cuts rare large values off where that loses the least information
#: (Kullback-Leibler divergence of the rounded from the real distribution; Migacz, 8-bit inference with TensorRT, GTC
#: 2017), ``max`` keeps all.
Method = Literal["entropy", "max"]

#: Photographs that are used at most.
CALIBRATION_COUNT = 256
#: Crops that are drawn where there are fewer photographs.
CROPS = 96
#: Bins of the histograms that entropy is computed from; ONNX Runtime's default of 128 is as coarse as the result.
_BINS = 2048
_BATCH = 8
#: The layers whose products are computed in few bits.
LAYER_TYPES = ("Conv", "Gemm")


def calibration_pixels(paths: Sequence[Path], spec: NetworkSpec) -> np.ndarray:
    """Pixels to calibrate on: photographs as they are served, or, where there are few, random crops of them.

    Args:
        paths: Image files.
        spec: Names S and the short side before the crop.

    Returns:
        (256 or fewer, S, S, 3) uint8; the same for the same files.

    Raises:
        DataError: A file is no image that can be read.
    """
    if len(paths) >= CROPS:
        chosen = _evenly(paths, CALIBRATION_COUNT)
        try:
            return np.stack([pixels_from_photograph(p, spec.image_size, spec.resize_short_side) for p in chosen])
        except (OSError, ValueError) as error:
            raise DataError(f"a photograph in {chosen[0].parent} cannot be calibrated on: {error}") from error
    return random_crops(paths, spec, CROPS, seed=0)


def _evenly(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many of the paths, from all over the list, as folders are classes."""
    count = min(len(paths), most)
    return [paths[index * len(paths) // count] for index in range(count)]


def random_crops(paths: Sequence[Path], spec: NetworkSpec, count: int, seed: int) -> np.ndarray:
    """Crops of a tenth to the whole of photographs, mirrored and of changed brightness at random.

    Returns:
        (``count``, S, S, 3) uint8; the same for the same files and seed.
    """
    import torch

    from alexnet_build.training.augment import Augmentation, augmented
    from alexnet_build.training.folders import Split
    from alexnet_build.training.images import square_photographs

    paths = _evenly(paths, count)
    whole = square_photographs(Split(tuple(paths), (0,) * len(paths), ("",)), side=384)
    order = torch.arange(count) % len(paths)
    crops = Augmentation(min_area=0.1, degrees=0, jitter=0.3, erase=0, mix=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = augmented(whole.pixels[order], whole.aspects[order], spec.image_size, crops)  # (count, 3, S, S)
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def activation_ranges(onnx_file: Path, pixels: np.ndarray, method: Method) -> dict[str, float]:
    """Calibrate: the largest magnitude that the input of each convolution and matrix product should represent.

    Args:
        onnx_file: A graph in FP32.
        pixels: (N, S, S, 3) uint8.
        method: ``entropy`` or ``max``.

    Returns:
        Magnitude by the name of the tensor.

    Raises:
        EngineError: ONNX Runtime could not run the graph.
    """
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    methods = {"entropy": CalibrationMethod.Entropy, "max": CalibrationMethod.MinMax}
    options = {"symmetric": True} | ({"num_bins": _BINS} if method == "entropy" else {})
    with tempfile.TemporaryDirectory() as scratch, quiet_quantiser():
        try:
            calibrator = create_calibrator(
                onnx_file, LAYER_TYPES, str(Path(scratch) / "augmented.onnx"), calibrate_method=methods[method],
                extra_options=options,
            )  # fmt: skip
            for start in range(
                0, len(pixels), 4 * _BATCH
            ):  # what a call reads is held in memory, every activation of it
                calibrator.collect_data(CalibrationReader(pixels[start : start + 4 * _BATCH]))
            found = calibrator.compute_data().data
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"ONNX Runtime could not calibrate {onnx_file}: {error}") from error
    nodes = onnx.load(str(onnx_file), load_external_data=False).graph.node
    inputs = [node.input[0] for node in nodes if node.op_type in LAYER_TYPES]
    return {name: float(max(np.abs(edge).max() for edge in found[name].range_value)) for name in inputs}


class CalibrationReader:
    """Pixels in batches, as ONNX Runtime's quantiser asks for them.

    Args:
        pixels: (N, S, S, 3) uint8.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self._batches = iter([pixels[i : i + _BATCH] for i in range(0, len(pixels), _BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch as an input feed; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {PIXELS: batch}


@contextlib.contextmanager
def quiet_quantiser() -> Iterator[None]:
    """Keep ONNX Runtime's quantiser, which advises through the root logger and prints, off both streams."""
    level = logging.getLogger().level
    try:
        logging.getLogger().setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(level)
