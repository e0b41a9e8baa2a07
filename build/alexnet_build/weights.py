"""Weights from a file, a package or a download to a network that is ready to export.

In: ``imagenet``, ``demo`` or a file. Out: a ``TrainedNetwork``. Called by every command that needs a network.
Architecture and class count are recognised from the tensors; nothing in a file is executed unless the user says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from alexnet_build.errors import WeightsError
from alexnet_build.network import NetworkSpec, network_from_spec
from alexnet_build.weights_layouts import named_tensors, spec_from_tensors

if TYPE_CHECKING:
    import numpy as np

DEMO_WEIGHTS = Path(__file__).with_name("demo") / "alexnet_caltech101.safetensors.xz"
SPEC_KEY = "alexnet_spec"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights.

    Attributes:
        spec: What the weights know about themselves.
        network: The torch module, in eval mode, on the CPU: normalised (N, 3, S, S) images to (N, C) logits.
        source: Where the weights came from, for people.
        sha256: Hash of the file they came from; empty for weights made in this process.
    """

    spec: NetworkSpec
    network: nn.Module
    source: str = "this process"
    sha256: str = ""


def load_weights(
    source: str,
    *,
    labels: Sequence[str] | None = None,
    local_response_norm: bool | None = None,
    trust: bool = False,
) -> TrainedNetwork:
    """Load a network by name or from a file.

    Args:
        source: ``imagenet`` (torchvision's AlexNet, downloaded once), ``demo`` (this project's own network for
            Caltech-101) or a file: ``.safetensors``, ``.safetensors.xz``, ``.pth``, ``.pt``, ``.ckpt``, ``.npy``.
        labels: Class names, for a file that has none.
        local_response_norm: Overrides what the file says or suggests; tensors cannot tell it.
        trust: Unpickle files that hold more than tensors and plain containers. They can run any code.

    Raises:
        WeightsError: The file cannot be read or fits no known network.
        UntrustedWeightsError: The file holds objects and ``trust`` is not given.
    """
    if source == "imagenet":
        from alexnet_build.weights_imagenet import imagenet_network

        return imagenet_network()
    path = DEMO_WEIGHTS if source == "demo" else Path(source)
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}; expected 'imagenet', 'demo' or a file ending in "
            ".safetensors, .safetensors.xz, .pth, .pt, .ckpt or .npy"
        )
    content = path.read_bytes()
    tensors, spec = _read(path, content, trust)
    if spec is None:
        spec = spec_from_tensors(tensors, labels, str(path))
    elif labels is not None:
        _check_label_count(labels, spec.classes, str(path))
        spec = spec.with_labels(labels)
    if local_response_norm is not None and spec.architecture == "paper2012":
        spec = NetworkSpec(**{**spec.__dict__, "local_response_norm": local_response_norm})
    network = network_from_spec(spec)
    load_tensors(network, tensors, str(path))
    return TrainedNetwork(spec, network, f"{source} ({path.name})", hashlib.sha256(content).hexdigest())


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a network.

    Raises:
        WeightsError: Lists every missing, unexpected and mis-shaped tensor at once.
    """
    expected = network.state_dict()
    complaints = [f"missing      {name} {_shape(expected[name])}" for name in expected if name not in tensors]
    complaints += [f"unexpected   {name} {_shape(tensors[name])}" for name in tensors if name not in expected]
    complaints += [
        f"wrong shape  {name}: expected {_shape(expected[name])}, the file has {_shape(tensors[name])}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    if complaints:
        listed = "\n  ".join(complaints)
        raise WeightsError(f"{source} does not fit {type(network).__name__}:\n  {listed}")
    network.load_state_dict(dict(tensors))


def save_weights(trained: TrainedNetwork, path: Path) -> None:
    """Write weights and what they know about themselves to a ``.safetensors`` file, whole or not at all.

    Raises:
        WeightsError: There is no room for it; an older file of that name is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
    partial = path.with_name(path.name + ".part")
    try:
        save_file(tensors, partial, spec_metadata(trained.spec))
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        megabytes = sum(tensor.nbytes for tensor in tensors.values()) / 1e6
        raise WeightsError(f"{path} cannot be written ({error}): make room for {megabytes:.0f} MB") from error
    partial.replace(path)


def spec_metadata(spec: NetworkSpec) -> dict[str, str]:
    """What a safetensors file's metadata says of a network."""
    return {SPEC_KEY: json.dumps(spec.to_dict())}


def _read(path: Path, content: bytes, trust: bool) -> tuple[dict[str, Tensor], NetworkSpec | None]:
    """The tensors of a file by the name that our networks give them, and the file's own specification."""
    name = path.name.lower()
    if name.endswith(".npy"):
        from alexnet_build.weights_numpy import tensors_from_npy

        return tensors_from_npy(content, str(path), trust)
    if name.endswith((".pth", ".pt", ".ckpt")):
        from alexnet_build.weights_torch import tensors_from_torch_file

        return tensors_from_torch_file(path, trust)
    if name.endswith((".safetensors", ".safetensors.xz")):
        return _read_safetensors(path, content)
    raise WeightsError(
        f"{path} has an unknown ending; expected .safetensors, .safetensors.xz, .pth, .pt, .ckpt or .npy"
    )


def _read_safetensors(path: Path, content: bytes) -> tuple[dict[str, Tensor], NetworkSpec | None]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from alexnet_build.weights_packed import safetensors_metadata, tensors_from_packed

    try:
        if path.name.endswith(".xz"):
            arrays, metadata = tensors_from_packed(content)
            tensors = _tensors_from_arrays(arrays)
        else:
            tensors, metadata = load(content), safetensors_metadata(content)
        spec = NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY])) if SPEC_KEY in metadata else None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged: {error}; fetch or train it again") from error
    return (tensors if spec else named_tensors(tensors)), spec


def _tensors_from_arrays(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _check_label_count(labels: Sequence[str], classes: int, source: str) -> None:
    if len(labels) != classes:
        raise WeightsError(f"{len(labels)} labels were given, but {source} has {classes} classes")


def _shape(tensor: Any) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
