"""The network that a run starts with: fresh, or somebody's weights with a new head.

In: class names and a ``Recipe``. Out: a ``NetworkSpec`` and a network to train; which layers learn from which epoch on.

A network that has learnt one set of classes has filters for edges, textures and parts that other classes need too.
So they are kept as they are; only the last layer, whose rows are the old classes, gives way to a new one.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from alexnet_build.network import AlexNet2012, NetworkSpec, network_from_spec
from alexnet_build.training.recipe import Recipe
from alexnet_build.weights import load_weights

Group = Literal["features", "classifier", "head"]


def network_to_train(labels: tuple[str, ...], recipe: Recipe) -> tuple[NetworkSpec, nn.Module]:
    """A network for these classes, in the state that the recipe starts from.

    Args:
        labels: Names of the C classes.
        recipe: Names the start, the architecture and the dropout.

    Returns:
        What the network is, and the network: normalised (N, 3, S, S) images to (N, C) logits.

    Raises:
        WeightsError: The weights to start from cannot be loaded.
    """
    if recipe.start == "scratch":
        spec = NetworkSpec(recipe.architecture, labels)
        network = _fresh_network(spec, recipe)
    else:
        parent = load_weights(recipe.start)
        spec, network = parent.spec.with_labels(labels), parent.network
        if parent.spec.labels != labels:
            _replace_head(network, len(labels))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = recipe.dropout
    return spec, network.train()


def layer_groups(network: nn.Module) -> dict[nn.Module, Group]:
    """To which group each layer with parameters belongs: convolutions, fully connected layers, the last of them."""
    head = head_of(network)[1]
    groups: dict[nn.Module, Group] = {}
    for module in network.modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        if module is head:
            groups[module] = "head"
        else:
            groups[module] = "features" if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)) else "classifier"
    return groups


def learns_from(group: Group, recipe: Recipe) -> float:
    """The epoch from which a group learns; infinity for never."""
    if recipe.start == "scratch" or group == "head":
        return 0
    if group == "classifier":
        return recipe.unfreeze_epochs
    return math.inf if recipe.freeze == "features" else 2 * recipe.unfreeze_epochs


def head_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last fully connected layer and its name."""
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]


def _replace_head(network: nn.Module, classes: int) -> None:
    name, old = head_of(network)
    head = nn.Linear(old.in_features, classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    network.set_submodule(name, head)


def _fresh_network(spec: NetworkSpec, recipe: Recipe) -> nn.Module:
    if spec.architecture != "paper2012":
        return network_from_spec(spec)
    network = AlexNet2012(spec.classes, batch_norm=recipe.batch_norm)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):  # He et al. 2015; the paper's N(0, 0.01) dies in fc6 here
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
    nn.init.normal_(network.fc8.weight, std=0.01)
    return network
