"""The two AlexNets, and the graph around them that the server runs.

In: a ``NetworkSpec`` (what the weights know about themselves). Out: torch modules. Called by every later step.

    pixels (N, S, S, 3) uint8 -> ServingGraph( normalise -> network -> softmax ) -> (N, C) float32 probabilities
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_build.errors import WeightsError

#: Side of the square crop that the paper's network was designed for, in pixels; torchvision's networks take 224.
PAPER_IMAGE_SIZE = 227
TORCHVISION_IMAGE_SIZE = 224

#: Per-channel mean and standard deviation of ImageNet's photographs, RGB, for pixels scaled to [0, 1].
#: Source: torchvision, ``AlexNet_Weights.IMAGENET1K_V1.transforms``.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkSpec:
    """What a set of weights knows about itself; travels inside the weights file.

    Attributes:
        architecture: ``paper2012`` (227 pixels, 96-256-384-384-256 channels), ``torchvision`` (its AlexNet, 224
            pixels) or the name of another of torchvision's classifiers, as a teacher: ``resnet18``.
        labels: The name of each class, in the order of the network's outputs.
        grouped: conv2, conv4 and conv5 see half of the channels each, as in the paper's two-GPU layout.
        local_response_norm: Local response normalisation after conv1 and conv2 (the paper, section 3.3).
        resize_short_side: The short side that photographs are resized to before the centre crop, in pixels.
        mean: RGB mean that is subtracted from pixels scaled to [0, 1].
        std: RGB standard deviation that the centred pixels are divided by.
    """

    architecture: str
    labels: tuple[str, ...]
    grouped: bool = False
    local_response_norm: bool = False
    resize_short_side: int = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Side S of the square input, in pixels."""
        return PAPER_IMAGE_SIZE if self.architecture == "paper2012" else TORCHVISION_IMAGE_SIZE

    def to_dict(self) -> dict[str, Any]:
        """The specification as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        """The specification that ``to_dict`` wrote."""
        tuples: dict[str, Any] = {key: tuple(values[key]) for key in ("labels", "mean", "std") if key in values}
        return cls(**(values | tuples))

    def with_labels(self, labels: Sequence[str]) -> NetworkSpec:
        """The same network with other classes."""
        return replace(self, labels=tuple(labels))


class AlexNet2012(nn.Module):
    """AlexNet in one column, for 227x227 images: Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3.5.

    Five convolutions with 96-256-384-384-256 channels and three fully connected layers. Descriptions of this
    network that leave out the pooling after the first convolution cannot run: 27x27 maps then arrive where fc6
    expects 6x6 (256 * 6 * 6 = 9216 features). Here, as in the paper, overlapping 3x3/2 max pooling follows
    conv1, conv2 and conv5: 227 -> 55 -> 27 -> 13 -> 6.

    Args:
        classes: Number of outputs C.
        grouped: Two groups in conv2, conv4 and conv5, as the paper's two GPUs had; needed for its ImageNet weights.
        local_response_norm: The paper's normalisation after conv1 and conv2. Off by default: it costs time
            and later work found no gain from it.
        batch_norm: Batch normalisation in front of every ReLU, for training only; ``fold_batch_norm`` merges it
            into the weights, so that the network that is served has none.
        dropout: Probability of dropping an input of fc6 and fc7 while training (the paper, section 4.2).
    """

    def __init__(
        self,
        classes: int,
        *,
        grouped: bool = False,
        local_response_norm: bool = False,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        groups = 2 if grouped else 1
        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(256, 384, kernel_size=3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=groups)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2)
        # Caffe's constants, which the published weights were trained with: alpha is divided by size, k is 1.
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0) if local_response_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.batch_norms = nn.ModuleDict(_batch_norms() if batch_norm else None)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores before the softmax.

        Args:
            images: (N, 3, 227, 227), normalised.

        Returns:
            (N, C) logits.
        """
        x = self.pool(self._normed(self._layer("conv1", images)))  # (N, 96, 27, 27)
        x = self.pool(self._normed(self._layer("conv2", x)))  # (N, 256, 13, 13)
        x = self._layer("conv4", self._layer("conv3", x))  # (N, 384, 13, 13)
        x = self.pool(self._layer("conv5", x))  # (N, 256, 6, 6)
        x = self._layer("fc6", self.dropout(torch.flatten(x, 1)))  # (N, 4096)
        x = self._layer("fc7", self.dropout(x))  # (N, 4096)
        return self.fc8(x)

    def _normed(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.Identity):
            return x
        return self.norm(x.float()).to(x.dtype)  # in FP32: it squares, and FP16 ends at 65,504, the square of 256

    def _layer(self, name: str, x: Tensor) -> Tensor:
        x = getattr(self, name)(x)
        if name in self.batch_norms:
            x = self.batch_norms[name](x)
        return torch.relu(x)

    @torch.no_grad()
    def insert_batch_norm(self, images: Tensor) -> None:
        """Put batch normalisations in front of the ReLUs of a trained network, such that its outputs stay the same.

        A normalisation whose scale and shift are the standard deviation and the mean of what arrives changes
        nothing in eval mode, and hardly anything while training; it makes fine-tuning as stable as training from
        scratch. ``fold_batch_norm`` is the way back.

        Args:
            images: (N, 3, 227, 227), normalised, on the network's device: what the statistics are taken from.
        """
        assert not self.batch_norms
        training = self.training
        self.eval()
        found: dict[str, tuple[Tensor, Tensor]] = {}

        def remember(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def hook(_: nn.Module, __: Any, y: Tensor) -> None:
                channels = y.transpose(0, 1).flatten(1)  # (channels, everything else)
                found[name] = channels.mean(1), channels.var(1, correction=0)

            return hook

        norms = _batch_norms()
        handles = [getattr(self, name).register_forward_hook(remember(name)) for name in norms]
        self(images)
        for handle in handles:
            handle.remove()
        for name, norm in norms.items():
            assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = found[name]
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_(torch.sqrt(variance + norm.eps))
            norm.bias.copy_(mean)
        self.batch_norms.update(norms)
        self.train(training)

    @torch.no_grad()
    def fold_batch_norm(self) -> None:
        """Merge the batch normalisations into the layers before them; the outputs in eval mode stay the same.

        With y = (Wx + b - mean) / sqrt(var + eps) * gamma + beta, the merged layer is W' = W * gamma / sqrt(var
        + eps) and b' = (b - mean) * gamma / sqrt(var + eps) + beta.
        """
        for name, norm in self.batch_norms.items():
            assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
            assert norm.running_mean is not None
            assert norm.running_var is not None
            layer = getattr(self, name)
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias.copy_((layer.bias - norm.running_mean) * scale + norm.bias)
        self.batch_norms.clear()


def _batch_norms() -> dict[str, nn.Module]:
    channels = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
    norms: dict[str, nn.Module] = {name: nn.BatchNorm2d(count) for name, count in channels.items()}
    return norms | {"fc6": nn.BatchNorm1d(4096), "fc7": nn.BatchNorm1d(4096)}


class ServingGraph(nn.Module):
    """Everything that the server computes after decoding: normalisation, network, softmax.

    So nothing about the weights is written twice: whoever sends pixels needs to know nothing but S.

    Args:
        network: Normalised (N, 3, S, S) images to (N, C) logits.
        spec: Names the normalisation.
        dtype: Arithmetic of the network itself, e.g. ``torch.float16``; softmax is FP32 always.
        merge: Merge the normalisation into the first layer as far as that is exact; changes ``network``.
    """

    scale: Tensor | None
    shift: Tensor | None

    def __init__(
        self, network: nn.Module, spec: NetworkSpec, *, dtype: torch.dtype = torch.float32, merge: bool = False
    ) -> None:
        super().__init__()
        self.dtype = dtype
        # (x / 255 - mean) / std in one multiplication and one addition
        scale = torch.tensor([1 / (255 * s) for s in spec.std])
        shift = torch.tensor([-m / s for m, s in zip(spec.mean, spec.std, strict=True)])
        left_scale, left_shift = _merged(network, scale, shift) if merge else (scale, shift)
        self.register_buffer("scale", None if left_scale is None else left_scale.reshape(1, 3, 1, 1))
        self.register_buffer("shift", None if left_shift is None else left_shift.reshape(1, 3, 1, 1))
        self.network = network.to(dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities of decoded photographs.

        Args:
            pixels: (N, S, S, 3) uint8, RGB.

        Returns:
            (N, C) float32, each row sums to 1.
        """
        # Cast first: TensorRT takes UINT8 as input, but moves no UINT8 data around.
        images = pixels.float().permute(0, 3, 1, 2)  # (N, 3, S, S)
        if self.scale is not None:
            images = images * self.scale
        if self.shift is not None:
            images = images + self.shift
        logits = self.network(images.to(self.dtype))  # (N, C)
        return torch.softmax(logits.float(), dim=1)


@torch.no_grad()
def _merged(network: nn.Module, scale: Tensor, shift: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Merge ``pixels * scale + shift`` (3,) into the first convolution; returns what is left to be done before it.

    With W' = W * scale and b' = b + sum(W * shift), the convolution takes pixels as they are. Where it pads its
    input with zeros, those zeros are normalised values: then the shift stays outside, in units of pixels.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    if first.bias is None:
        return scale, shift
    padded = first.padding not in (0, (0, 0))
    if not padded:
        first.bias.add_((first.weight * shift.reshape(1, 3, 1, 1)).sum((1, 2, 3)))
    first.weight.mul_(scale.reshape(1, 3, 1, 1))
    return None, shift / scale if padded else None


def network_from_spec(spec: NetworkSpec) -> nn.Module:
    """An untrained network of the specified architecture, in eval mode.

    Raises:
        WeightsError: There is no such architecture.
    """
    if spec.architecture == "paper2012":
        return AlexNet2012(spec.classes, grouped=spec.grouped, local_response_norm=spec.local_response_norm).eval()
    from torchvision.models import get_model

    name = "alexnet" if spec.architecture == "torchvision" else spec.architecture
    try:
        return get_model(name, weights=None, num_classes=spec.classes).eval()
    except (ValueError, TypeError) as error:
        raise WeightsError(
            f"there is no architecture {spec.architecture!r}; expected paper2012, torchvision (its AlexNet) or the "
            "name of another of torchvision's classifiers, such as resnet18"
        ) from error
