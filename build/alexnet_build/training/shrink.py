"""Prunes and quantises trained weights while training goes on, so that accuracy follows.

In: a ``TrainedNetwork`` and its training photographs. Out: a network most of whose weights are zero and the others
on a grid of few levels, and the small file that holds it (``weights_packed``).

Weights are removed by layer-adaptive magnitude (Lee et al. 2021, "LAMP") on a cubic schedule (Zhu and Gupta 2017),
then rounded to levels with straight-through gradients (Bengio et al. 2013); the uncompressed parent teaches
throughout (Hinton et al. 2015).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from lightning.pytorch import callbacks
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from alexnet_build.network import NetworkSpec
from alexnet_build.training.classifier import ClassifierTraining
from alexnet_build.training.recipe import Recipe
from alexnet_build.weights import TrainedNetwork


@dataclass(frozen=True)
class Shrinking:
    """How far weights are compressed.

    Attributes:
        sparsity: Share of all weights that become zero, 0 to 1.
        conv_bits: Bits of a convolution's weights; the levels are -(2^(b-1) - 1) to 2^(b-1) - 1.
        linear_bits: Bits of a fully connected layer's weights.
        prune_until: Share of the epochs by which the last weight is removed.
        quantise_from: Share of the epochs at which rounding starts.
        distillation: Share of the loss that compares with the parent, 0 to 1.
        temperature: Of the parent's softened probabilities.
    """

    sparsity: float = 0.93
    conv_bits: int = 6
    linear_bits: int = 5
    prune_until: float = 0.6
    quantise_from: float = 0.75
    distillation: float = 0.7
    temperature: float = 2.0


class SparseGrid(nn.Module):
    """Weight parametrisation: zero where pruned, rounded to levels once there is a step size."""

    mask: Tensor
    steps: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros(len(weight), device=weight.device))
        self.top_level = 2 ** (bits - 1) - 1
        self.rounding = False

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with, shape kept."""
        weight = weight * self.mask
        if not self.rounding:
            return weight
        steps = self.steps.reshape(-1, *[1] * (weight.dim() - 1))
        rounded = (weight / steps).round().clamp(-self.top_level, self.top_level) * steps
        return weight + (rounded - weight).detach()

    @torch.no_grad()
    def start_rounding(self, weight: Tensor) -> None:
        """Choose each row's step, out of 24, by the smallest squared error."""
        rows = (weight * self.mask).flatten(1)
        largest = rows.abs().amax(1).clamp(min=1e-8)
        best = torch.full_like(largest, torch.inf)
        for share in torch.linspace(0.3, 1.0, 24).tolist():
            steps = largest * share / self.top_level
            rounded = (rows / steps[:, None]).round().clamp(-self.top_level, self.top_level) * steps[:, None]
            error = (rounded - rows).square().sum(1)
            self.steps = torch.where(error < best, steps, self.steps)
            best = torch.minimum(error, best)
        self.rounding = True


class ShrinkSchedule(callbacks.Callback):
    """Removes weights at the start of each epoch, and starts the rounding when its time has come."""

    def __init__(self, how: Shrinking) -> None:
        self.how = how

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Bring the masks to the sparsity of this epoch."""
        layers = sparse_layers(pl_module.network)  # type: ignore[arg-type]
        progress = trainer.current_epoch / max(trainer.max_epochs or 1, 1)
        pruned = min(progress / max(self.how.prune_until, 1e-9), 1.0)
        prune_to(layers, self.how.sparsity * (1 - (1 - pruned) ** 3))
        if progress >= self.how.quantise_from:
            for layer in layers.values():
                grid = _grid(layer)
                if not grid.rounding:
                    grid.start_rounding(_original(layer))


class ShrinkTraining(ClassifierTraining):
    """Training of a network that is being compressed, taught by its parent."""

    def __init__(self, parent: TrainedNetwork, recipe: Recipe, how: Shrinking) -> None:
        super().__init__(copy.deepcopy(parent.network), parent.spec, recipe)
        self.how = how
        # in a list, so that it is not a submodule: it is neither trained nor saved
        self._parent = [copy.deepcopy(parent.network).eval().requires_grad_(False)]
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.dropout
        for layer in [m for m in self.network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]:
            bits = how.conv_bits if isinstance(layer, nn.Conv2d) else how.linear_bits
            parametrize.register_parametrization(layer, "weight", SparseGrid(layer.weight, bits))
        self.network.train()

    def on_fit_start(self) -> None:
        """Put the parent where the network is."""
        self._parent[0].to(self.device)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy with the labels, blended with the divergence from the parent's softened probabilities."""
        images, targets = batch
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits = self.network(normalised)
        with torch.no_grad():
            taught = self._parent[0](normalised)
        heat = self.how.temperature
        divergence = functional.kl_div(
            (logits / heat).log_softmax(1),
            (taught / heat).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        labelled = functional.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        share = self.how.distillation
        loss = (1 - share) * labelled + share * heat**2 * divergence
        self.log("loss", loss, prog_bar=True)
        return loss


def sparse_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The layers whose weights are being compressed, by name."""
    return {name: m for name, m in network.named_modules() if parametrize.is_parametrized(m, "weight")}


@torch.no_grad()
def prune_to(layers: dict[str, nn.Module], sparsity: float) -> None:
    """Remove the weights with the smallest layer-adaptive magnitudes.

    The score of a weight is its square over the sum of the squares, in its layer, of those that are not smaller
    (Lee et al. 2021, equation 3); scores of all layers are compared with one another.
    """
    scores = {name: _lamp_scores(layer) for name, layer in layers.items()}
    every = torch.cat(list(scores.values()))
    count = int(sparsity * len(every))
    if not count:
        return
    threshold = every.kthvalue(count).values
    for name, layer in layers.items():
        grid = _grid(layer)
        grid.mask &= (scores[name] > threshold).reshape(grid.mask.shape)


def _lamp_scores(layer: nn.Module) -> Tensor:
    squares = (_original(layer) * _grid(layer).mask).flatten().square()
    ascending, order = squares.sort()
    not_smaller = ascending.flip(0).cumsum(0).flip(0).clamp(min=1e-30)
    return torch.empty_like(squares).scatter_(0, order, ascending / not_smaller)


def _grid(layer: nn.Module) -> SparseGrid:
    grid = layer.parametrizations.weight[0]  # type: ignore[union-attr, index]
    assert isinstance(grid, SparseGrid)
    return grid


def _original(layer: nn.Module) -> Tensor:
    """The weight that is trained, before pruning and rounding."""
    original = layer.parametrizations.weight.original  # type: ignore[union-attr]
    assert isinstance(original, Tensor)
    return original


def shrunk_network(module: ShrinkTraining) -> tuple[TrainedNetwork, dict[str, np.ndarray]]:
    """The compressed network with plain weights, and each weight's step per output channel.

    Raises:
        RuntimeError: Rounding never started: the run was too short for its ``quantise_from``.
    """
    scales: dict[str, np.ndarray] = {}
    for name, layer in sparse_layers(module.network).items():
        grid = _grid(layer)
        if not grid.rounding:
            raise RuntimeError(f"{name} was not rounded: train more epochs or start rounding earlier")
        scales[f"{name}.weight"] = grid.steps.float().cpu().numpy()
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    network = module.network.eval().float().cpu()
    return TrainedNetwork(NetworkSpec.from_dict(module.spec.to_dict()), network), scales
