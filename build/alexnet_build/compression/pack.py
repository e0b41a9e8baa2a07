"""Makes a small weights file out of a trained network: prunes it, rounds what is left to few levels, packs it.

In: a ``Retraining``. Out: ``weights.safetensors.xz`` (``weights_packed``) and a ``PackingReport``. One run does both:
weights are removed by layer-adaptive magnitude until 60 % of the epochs (``prune``), and from 75 % on those left are
rounded, with gradients that pass straight through (Bengio et al. 2013).
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import callbacks
from torch import Tensor, nn
from torch.nn.utils import parametrize

from alexnet_build.compression.prune import (
    PruneSchedule,
    is_pruned,
    layer_zeros,
    prune_globally,
    sparsity_of,
    weighted_layers,
)
from alexnet_build.compression.retrain import Retraining, Stages
from alexnet_build.errors import WeightsError
from alexnet_build.weights import load_weights, spec_metadata
from alexnet_build.weights_packed import packed_weights_to_file

#: Share of the epochs at which rounding starts, after the last weight was removed.
ROUND_FROM = 0.75


@dataclass(frozen=True)
class Packing:
    """How far weights are compressed.

    Attributes:
        sparsity: Share of all weights that become zero, 0 to 1.
        conv_bits: Bits of a convolution's weights; the levels are -(2^(b-1) - 1) to 2^(b-1) - 1.
        linear_bits: Bits of a fully connected layer's weights.
    """

    sparsity: float = 0.93
    conv_bits: int = 6
    linear_bits: int = 5

    def bits(self, layer: nn.Module) -> int:
        """Bits of a layer's weights."""
        return self.conv_bits if isinstance(layer, nn.Conv2d) else self.linear_bits


@dataclass(frozen=True)
class PackingReport:
    """What compression cost and gained.

    Attributes:
        file_bytes: Size of the packed file.
        weights: Number of weights, biases included.
        nonzero: How many of them are not zero.
        packing: What was asked for.
        layers: Share of zeros by layer.
        accuracy: ``before`` and ``packed``, the latter of the file as it is loaded again.
        seconds: Wall time of the training.
    """

    file_bytes: int
    weights: int
    nonzero: int
    packing: Packing
    layers: dict[str, float]
    accuracy: Stages
    seconds: float


class Grid(nn.Module):
    """Weight parametrisation: each output channel's weights rounded to levels of its own step.

    It is put on a layer when rounding starts, and pruning is over by then. So torch's pruning only ever sees plain
    weights, and zeros need no mask: zero is a level.
    """

    steps: Tensor
    zero_points: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.top_level = 2 ** (bits - 1) - 1
        self.register_buffer("steps", _best_steps(weight.detach(), self.top_level))
        self.register_buffer("zero_points", torch.zeros_like(self.steps, dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with, shape kept."""
        return _StraightThrough.apply(weight, self.steps, self.zero_points, self.top_level)


class _StraightThrough(torch.autograd.Function):
    """Rounding in one pass over the weights; the gradient is that of no rounding, also where a level is the last."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, steps: Tensor, zero_points: Tensor, top_level: int) -> Tensor:
        return torch.fake_quantize_per_channel_affine(weight, steps, zero_points, 0, -top_level, top_level)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0], None, None, None


def _best_steps(weight: Tensor, top_level: int) -> Tensor:
    """Each row's step, out of 24, with the smallest squared error: (rows,)."""
    rows = weight.flatten(1)
    largest = rows.abs().amax(1).clamp(min=1e-8)
    best, chosen = torch.full_like(largest, torch.inf), largest
    for share in torch.linspace(0.3, 1.0, 24).tolist():
        steps = largest * share / top_level
        rounded = (rows / steps[:, None]).round().clamp(-top_level, top_level) * steps[:, None]
        error = (rounded - rows).square().sum(1)
        chosen = torch.where(error < best, steps, chosen)
        best = torch.minimum(error, best)
    return chosen


class RoundSchedule(callbacks.Callback):
    """Starts the rounding when its time has come."""

    def __init__(self, how: Packing) -> None:
        self.how = how

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the grids on at ``ROUND_FROM``; the optimiser's Parameters stay the same objects."""
        if trainer.current_epoch == int(ROUND_FROM * (trainer.max_epochs or 0)):
            round_weights(pl_module.network, self.how)  # type: ignore[arg-type]


def round_weights(network: nn.Module, how: Packing) -> None:
    """Put a ``Grid`` on every layer's weights."""
    for layer in weighted_layers(network).values():
        parametrize.register_parametrization(layer, "weight", Grid(layer.weight, how.bits(layer)))


def plain_weights(network: nn.Module) -> dict[str, np.ndarray]:
    """Take the grids off, leaving rounded weights; returns each weight's steps, (rows,) float32, by name."""
    steps: dict[str, np.ndarray] = {}
    for name, layer in weighted_layers(network).items():
        (grid,) = layer.parametrizations.weight  # type: ignore[union-attr, misc]
        steps[f"{name}.weight"] = grid.steps.float().cpu().numpy()
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return steps


def compress(work: Retraining, how: Packing) -> PackingReport:
    """Prune, round, retrain, pack. A network that is sparse enough already is not pruned again.

    Args:
        work: The network, its photographs and how it is trained on.
        how: How far to compress.

    Raises:
        WeightsError: The packed file has no place for what the network has beside weights and biases.
        TrainingError: The training could not go on.
    """
    parent = work.parent.network
    if any(tensor.dim() == 0 for tensor in parent.state_dict().values()):
        raise WeightsError(
            f"{work.parent.spec.architecture} has counters beside its weights, which the packed file has no place for; "
            "expected a network without batch normalisation, such as paper2012 or torchvision"
        )
    before = work.accuracy(parent)
    network, seconds = copy.deepcopy(parent), 0.0
    pruned = is_pruned(network, how.sparsity)
    if pruned:
        print(f"{sparsity_of(network):.1%} of the weights are zero already: rounding alone", file=sys.stderr)
    if work.recipe.epochs:
        pruning = [] if pruned else [PruneSchedule(how.sparsity, "lamp", sparsity_of(network))]
        seconds = work.train(network, [*pruning, RoundSchedule(how)])
    else:
        if not pruned:
            prune_globally(network, how.sparsity, "lamp")
        round_weights(network, how)
    steps = plain_weights(network)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    work.output.mkdir(parents=True, exist_ok=True)
    path = work.output / "weights.safetensors.xz"
    file_bytes = packed_weights_to_file(path, tensors, steps, spec_metadata(work.parent.spec))
    packed = load_weights(str(path)).network
    report = PackingReport(
        file_bytes=file_bytes,
        weights=sum(tensor.size for tensor in tensors.values()),
        nonzero=sum(int((tensor != 0).sum()) for tensor in tensors.values()),
        packing=how,
        layers={name: zeros.sparsity for name, zeros in layer_zeros(packed).items()},
        accuracy={"before": before, "packed": work.accuracy(packed)},
        seconds=seconds,
    )
    work.write_report(report)
    return report
