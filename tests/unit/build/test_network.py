from __future__ import annotations

import copy

import pytest
import torch
from alexnet_build.network import AlexNet2012, NetworkSpec, ServingGraph, network_from_spec
from torch import nn


def test_paper_network_has_the_published_number_of_parameters_when_grouped() -> None:
    count = sum(p.numel() for p in AlexNet2012(1000, grouped=True).parameters())
    assert count == 60_965_224  # Krizhevsky et al. 2012: "60 million parameters"


def test_paper_network_pools_to_9216_features_at_227_pixels() -> None:
    network = AlexNet2012(5).eval()
    seen: list[torch.Size] = []
    network.fc6.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    assert network(torch.zeros(2, 3, 227, 227)).shape == (2, 5)
    assert seen == [(2, 9216)]


def test_local_response_norm_changes_the_answers_only_where_asked_for() -> None:
    torch.manual_seed(0)
    plain, normalised = AlexNet2012(4).eval(), AlexNet2012(4, local_response_norm=True).eval()
    normalised.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 227, 227) * 255
    assert isinstance(plain.norm, nn.Identity)
    assert not torch.equal(plain(images), normalised(images))


def test_fold_batch_norm_keeps_the_outputs_and_removes_the_norms() -> None:
    torch.manual_seed(0)
    network = AlexNet2012(4, batch_norm=True)
    with torch.no_grad():
        network(torch.rand(4, 3, 227, 227))  # moves the running statistics away from 0 and 1
    network.eval()
    images = torch.rand(2, 3, 227, 227)
    before = network(images)
    network.fold_batch_norm()
    assert set(network.state_dict()) == set(AlexNet2012(4).state_dict())
    torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("architecture", "size"), [("paper2012", 227), ("torchvision", 224)])
def test_serving_graph_gives_the_probabilities_of_the_normalised_network(architecture: str, size: int) -> None:
    torch.manual_seed(0)
    spec = NetworkSpec(architecture, tuple("abcde"))  # type: ignore[arg-type]
    network = network_from_spec(spec)
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    normalised = ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    probabilities = ServingGraph(network, spec).eval()(pixels)
    assert spec.image_size == size
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, network(normalised).softmax(1))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2))


@pytest.mark.parametrize("architecture", ["paper2012", "torchvision"])
def test_serving_graph_gives_the_same_with_the_normalisation_merged(architecture: str) -> None:
    """Torchvision's first convolution pads with zeros, so only the scale can go into its weights."""
    torch.manual_seed(0)
    spec = NetworkSpec(architecture, tuple("abcde"), std=(0.2, 0.3, 0.1))  # type: ignore[arg-type]
    network = network_from_spec(spec)
    pixels = torch.randint(0, 256, (2, spec.image_size, spec.image_size, 3), dtype=torch.uint8)
    expected = ServingGraph(network, spec).eval()(pixels)
    merged = ServingGraph(copy.deepcopy(network), spec, merge=True).eval()
    assert merged.scale is None
    assert (merged.shift is None) == (architecture == "paper2012")
    torch.testing.assert_close(merged(pixels), expected)


def test_network_spec_survives_json() -> None:
    spec = NetworkSpec("paper2012", ("a", "b"), grouped=True, local_response_norm=True, mean=(0.1, 0.2, 0.3))
    import json

    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
