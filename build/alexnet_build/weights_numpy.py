"""Reads ``.npy`` weight files that hold a pickled dict, admitting plain data only.

Two layouts are known: ``bvlc_alexnet.npy`` (layer name to [weights, biases]; kernels HWIO, fully connected weights
input-first, BGR input with the mean subtracted, two groups), and a dict under ``"weight"`` from parameter name to
array.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet_build.errors import UntrustedWeightsError, WeightsError
from alexnet_build.network import NetworkSpec
from alexnet_build.weights_layouts import PAPER_LAYERS, imagenet_labels, named_tensors

#: Mean of ImageNet's training photographs as Caffe subtracts it, RGB, 0 to 255.
#: Source: ilsvrc_2012_mean.npy of the Caffe model zoo, averaged over the image.
CAFFE_MEAN_RGB = (122.67891434, 116.66876762, 104.00698793)

#: What numpy's own pickles of arrays call; everything else is refused.
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how protocol 2 spells bytes
}


class _PlainUnpickler(pickle.Unpickler):
    """Admits arrays, dicts, lists, strings and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise UntrustedWeightsError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


def tensors_from_npy(content: bytes, source: str, trust: bool) -> tuple[dict[str, Tensor], NetworkSpec | None]:
    """Read a ``.npy`` file of weights.

    Args:
        content: The file's bytes.
        source: The file's name, for errors.
        trust: Unpickle anything.

    Raises:
        UntrustedWeightsError: The pickle holds more than arrays and plain containers.
        WeightsError: The file is damaged or has another layout.
    """
    loaded = _unpickled(content, source, trust)
    if isinstance(loaded, dict) and isinstance(loaded.get("weight"), dict):
        loaded = loaded["weight"]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{source} holds {_kind(loaded)}; expected a dict of layer or parameter names")
    values = {(k.decode() if isinstance(k, bytes) else str(k)): v for k, v in loaded.items()}
    if set(PAPER_LAYERS) <= set(values) and all(_is_pair(values[layer]) for layer in PAPER_LAYERS):
        return _from_caffe(values, source)
    bad = [name for name, value in values.items() if not _is_numeric(value)]
    if bad:
        raise WeightsError(f"{source}: expected one array of numbers for each name, but not so for {', '.join(bad)}")
    return named_tensors({name: _tensor(value) for name, value in values.items()}), None


def _unpickled(content: bytes, source: str, trust: bool) -> Any:
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) == (1, 0):
            _, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            file.seek(0)
            np.lib.format.read_magic(file)
            _, _, dtype = np.lib.format.read_array_header_2_0(file)
        if not dtype.hasobject:
            raise WeightsError(f"{source} holds one array of {dtype}; expected a dict of layer or parameter names")
        unpickler = pickle.Unpickler if trust else _PlainUnpickler
        array = unpickler(file, encoding="latin1").load()
    except UntrustedWeightsError as error:
        raise UntrustedWeightsError(
            f"{source} would run code when loaded: {error}. Expected arrays in dicts and lists only. "
            "If you made this file yourself, add --trust"
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise WeightsError(f"{source} is damaged or not a .npy file: {type(error).__name__}: {error}") from error
    return array.item() if isinstance(array, np.ndarray) and array.size == 1 else array


def _from_caffe(values: dict[str, Any], source: str) -> tuple[dict[str, Tensor], NetworkSpec]:
    """Turn kernels to OIHW, inputs to RGB and fc6's rows from HWC to CHW order."""
    tensors: dict[str, Tensor] = {}
    for layer in PAPER_LAYERS:
        weights, biases = (np.asarray(part, np.float32) for part in values[layer])
        if layer.startswith("conv"):
            if weights.ndim != 4:
                raise WeightsError(f"{source}: {layer} has shape {weights.shape}; expected height, width, in, out")
            weights = weights.transpose(3, 2, 0, 1)  # HWIO -> OIHW
        elif layer == "fc6" and weights.shape[0] == 6 * 6 * 256:
            weights = weights.reshape(6, 6, 256, -1).transpose(3, 2, 0, 1).reshape(weights.shape[1], -1)
        else:
            weights = weights.T
        if layer == "conv1":
            weights = weights[:, ::-1]  # BGR -> RGB
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = _tensor(weights), _tensor(biases.ravel())
    classes = tensors["fc8.bias"].numel()
    labels = imagenet_labels() if classes == 1000 else tuple(f"class {i}" for i in range(classes))
    spec = NetworkSpec(
        "paper2012",
        labels,
        grouped=tensors["conv2.weight"].shape[1] == 48,
        local_response_norm=True,
        mean=tuple(value / 255 for value in CAFFE_MEAN_RGB),  # type: ignore[arg-type]
        std=(1 / 255, 1 / 255, 1 / 255),
    )
    return tensors, spec


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _kind(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
