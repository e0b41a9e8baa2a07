"""Recognises a network from the names and shapes of its tensors.

In: tensors as some project named them. Out: the same tensors under our names, and a ``NetworkSpec``. An AlexNet has
five convolutions and three fully connected layers in a row, so whatever they are called, their order tells which is
which; the shape of the first convolution tells the architecture, the last layer the class count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from alexnet_build.errors import WeightsError
from alexnet_build.network import NetworkSpec

PAPER_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
TORCHVISION_LAYERS = (
    "features.0", "features.3", "features.6", "features.8", "features.10",
    "classifier.1", "classifier.4", "classifier.6",
)  # fmt: skip
#: Output channels of the first convolution.
_FIRST_CHANNELS = {96: PAPER_LAYERS, 64: TORCHVISION_LAYERS}


def named_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of our own modules where they can be told, else as they came.

    A prefix that all names share (``module.``, ``model.``, ``network.``) does not matter.
    """
    weights = {name: t for name, t in tensors.items() if name.endswith("weight") and t.dim() in (2, 4)}
    convolutions = _in_order(name for name, t in weights.items() if t.dim() == 4)
    linears = _in_order(name for name, t in weights.items() if t.dim() == 2)
    if len(convolutions) != 5 or len(linears) != 3:
        return dict(tensors)
    layers = _FIRST_CHANNELS.get(tensors[convolutions[0]].shape[0])
    if layers is None:
        return dict(tensors)
    renamed = {}
    for layer, name in zip(layers, (*convolutions, *linears), strict=True):
        stem = name.removesuffix("weight")
        renamed[name] = f"{layer}.weight"
        renamed[f"{stem}bias"] = f"{layer}.bias"
    return {renamed.get(name, name): tensor for name, tensor in tensors.items()}


def spec_from_tensors(tensors: Mapping[str, Tensor], labels: Sequence[str] | None, source: str) -> NetworkSpec:
    """Architecture, grouping and class count as the tensors' shapes tell them.

    Args:
        tensors: Tensors under our names.
        labels: Class names; None for ImageNet's (1000 classes) or numbers.
        source: What the tensors came from, for the error.

    Raises:
        WeightsError: No known network starts and ends like this, or the labels do not match.
    """
    for layers in (PAPER_LAYERS, TORCHVISION_LAYERS):
        first, second, last = (tensors.get(f"{layers[i]}.weight") for i in (0, 1, 7))
        if first is not None and last is not None:
            break
    if first is None or last is None:
        shapes = "\n  ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items()) or "no tensors"
        raise WeightsError(
            f"{source} holds no AlexNet known here: expected five convolutions, the first with 96 (227x227 input) or "
            f"64 (torchvision, 224x224) filters of 11x11, and three fully connected layers; it holds\n  {shapes}"
        )
    classes = last.shape[0]
    labels = tuple(labels) if labels else _default_labels(classes)
    if len(labels) != classes:
        raise WeightsError(f"{len(labels)} labels were given, but {source} has {classes} classes")
    if layers is TORCHVISION_LAYERS:
        return NetworkSpec("torchvision", labels)
    grouped = second is not None and second.shape[1] == 48
    return NetworkSpec("paper2012", labels, grouped=grouped, local_response_norm=grouped)


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names of ImageNet-1k, as torchvision's weights carry them."""
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def _default_labels(classes: int) -> tuple[str, ...]:
    return imagenet_labels() if classes == 1000 else tuple(f"class {index}" for index in range(classes))


def _in_order(names: Iterable[str]) -> list[str]:
    """Names sorted by the numbers in them, so that features.10 comes after features.8."""
    import re

    def key(name: str) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return sorted(names, key=key)
