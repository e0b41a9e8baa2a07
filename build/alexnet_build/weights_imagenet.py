"""torchvision's AlexNet for ImageNet, downloaded once with its hash checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError

import torch

from alexnet_build.errors import WeightsError
from alexnet_build.network import NetworkSpec, network_from_spec
from alexnet_build.weights import TrainedNetwork
from alexnet_build.weights_layouts import imagenet_labels


def imagenet_spec() -> NetworkSpec:
    """What torchvision's ``AlexNet_Weights.IMAGENET1K_V1`` says of itself; needs no download."""
    from torchvision.models import AlexNet_Weights

    preset = AlexNet_Weights.IMAGENET1K_V1.transforms()
    return NetworkSpec(
        "torchvision",
        imagenet_labels(),
        resize_short_side=preset.resize_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def imagenet_network() -> TrainedNetwork:
    """Download (or find in torch's cache) and load the weights.

    Raises:
        WeightsError: The download failed; names what to do without a network.
    """
    from torchvision.models import AlexNet_Weights

    url = AlexNet_Weights.IMAGENET1K_V1.url
    file_name = url.rsplit("/", 1)[1]
    directory = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        # The start of the SHA-256 is in the file's name; check_hash compares it.
        state = torch.hub.load_state_dict_from_url(url, progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the ImageNet weights could not be fetched from {url}: {error}. Without a network, fetch that file on "
            f"another machine and give it as --weights FILE, or put it into {directory}; "
            "--weights demo needs no network"
        ) from error
    spec = imagenet_spec()
    network = network_from_spec(spec)
    network.load_state_dict(state)
    digest = hashlib.sha256((directory / file_name).read_bytes()).hexdigest()
    return TrainedNetwork(spec, network, f"imagenet ({file_name})", digest)
