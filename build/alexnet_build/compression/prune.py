"""Removes weights from a network and trains the others on, so that accuracy follows.

In: a ``Retraining``. Out: ``weights.safetensors`` with plain zeros, and a ``PruningReport``. Two patterns:

``global``: the least important weights of the whole network, on a cubic schedule (Zhu and Gupta 2017, equation 1).
It makes small files (``pack``); no engine here is faster for it.

``2:4``: two of each four weights that are next to each other along the input channels (Mishra et al. 2021). Tensor
cores from Ampere on skip them, if TensorRT is allowed to.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import lightning
import torch
from lightning.pytorch import callbacks
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from alexnet_build.compression.retrain import Retraining, Stages, quiet_modelopt
from alexnet_build.errors import WeightsError
from alexnet_build.weights import TrainedNetwork, save_weights

Pattern = Literal["global", "2:4"]
Score = Literal["lamp", "magnitude"]

#: Share of the epochs by which the last weight is removed; the rest is for recovery.
PRUNE_UNTIL = 0.6


@dataclass(frozen=True)
class LayerZeros:
    """What pruning left of a layer.

    Attributes:
        weights: Number of weights, biases not counted.
        sparsity: Share of them that is zero, 0 to 1.
        two_in_four: Whether TensorRT can use its zeros.
    """

    weights: int
    sparsity: float
    two_in_four: bool


@dataclass(frozen=True)
class PruningReport:
    """What pruning cost.

    Attributes:
        pattern: ``global`` or ``2:4``.
        score: What ``global`` compares; None for ``2:4``, which compares magnitudes.
        sparsity: Share of all weights that is zero, 0 to 1.
        layers: The same by layer.
        accuracy: ``before``, ``pruned`` (all at once, without training) and ``retrained``.
        seconds: Wall time of the training.
    """

    pattern: Pattern
    score: Score | None
    sparsity: float
    layers: dict[str, LayerZeros]
    accuracy: Stages
    seconds: float


class PruneSchedule(callbacks.Callback):
    """Removes weights at the start of each epoch, many at first, until ``PRUNE_UNTIL``.

    Args:
        sparsity: Share of the weights that are zero in the end.
        score: What is compared.
        parent_sparsity: Share that is zero in the beginning.
    """

    def __init__(self, sparsity: float, score: Score, parent_sparsity: float = 0.0) -> None:
        self.sparsity, self.score, self.parent_sparsity = sparsity, score, parent_sparsity

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Bring the network to the sparsity of this epoch."""
        last = int(PRUNE_UNTIL * (trainer.max_epochs or 0))
        if trainer.current_epoch > last:
            return
        left = (1 - trainer.current_epoch / last) ** 3 if last else 0.0
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        prune_globally(network, self.sparsity + (self.parent_sparsity - self.sparsity) * left, self.score)
        network.to(memory_format=torch.channels_last)


def prune(work: Retraining, pattern: Pattern, sparsity: float, score: Score) -> PruningReport:
    """Prune, retrain, save.

    Args:
        work: The network, its photographs and how it is trained on.
        pattern: Which weights may go.
        sparsity: Share of all weights that become zero with ``global``; ``2:4`` has its own.
        score: What ``global`` compares.

    Raises:
        WeightsError: The network has that many zeros already.
        TrainingError: The training could not go on.
    """
    parent = work.parent.network
    if pattern == "global" and is_pruned(parent, sparsity):
        raise WeightsError(
            f"{sparsity_of(parent):.2%} of the network's weights are zero already; expected a --sparsity above that"
        )
    stages = {"before": work.accuracy(parent)}
    one_shot = copy.deepcopy(parent)
    if pattern == "2:4":
        prune_two_in_four(one_shot)
    else:
        prune_globally(one_shot.to("cuda" if torch.cuda.is_available() else "cpu"), sparsity, score)
    stages["pruned"] = work.accuracy(one_shot)
    network, seconds = one_shot.cpu(), 0.0
    if work.recipe.epochs:
        gradual = pattern == "global"
        network = copy.deepcopy(parent) if gradual else one_shot
        watchers = [PruneSchedule(sparsity, score, sparsity_of(parent))] if gradual else []
        seconds = work.train(network, watchers)
        stages["retrained"] = work.accuracy(network)
    layers = layer_zeros(network)
    report = PruningReport(
        pattern, score if pattern == "global" else None, sparsity_of(network), layers, stages, seconds
    )
    work.write_report(report)
    save_weights(TrainedNetwork(work.parent.spec, network), work.output / "weights.safetensors")
    return report


def prune_globally(network: nn.Module, sparsity: float, score: Score) -> None:
    """Make the least important weights of all layers zero, such that ``sparsity`` of all are."""
    layers = list(weighted_layers(network).values())
    network.to(memory_format=torch.contiguous_format)  # torch flattens weights with view(-1)
    importance = _lamp if score == "lamp" else torch.abs
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers],
        pruning_method=torch_prune.L1Unstructured,
        importance_scores={(layer, "weight"): importance(layer.weight.detach()) for layer in layers},
        amount=int(sparsity * sum(layer.weight.numel() for layer in layers)),
    )
    for layer in layers:
        torch_prune.remove(layer, "weight")  # the same Parameter, now with zeros: optimisers need not know


def _lamp(weight: Tensor) -> Tensor:
    """Layer-adaptive magnitudes: a weight's square over the sum of those squares in its layer that are not smaller.

    Scores of all layers can be compared with one another (Lee et al. 2021, equation 3).
    """
    ascending, order = weight.flatten().square().sort()
    not_smaller = ascending.flip(0).cumsum(0).flip(0).clamp(min=1e-30)
    return torch.empty_like(ascending).scatter_(0, order, ascending / not_smaller).reshape(weight.shape)


def prune_two_in_four(network: nn.Module) -> None:
    """Make the smaller two of each four weights along the input channels zero, where a layer's shape allows it.

    ModelOpt leaves out layers whose input channels are no multiple of 16 or whose outputs are none of 8: tensor cores
    have no sparse kernels for them.
    """
    with quiet_modelopt():
        import modelopt.torch.sparsity as mts

        search = {"data_loader": None, "collect_func": None}  # magnitudes need no images
        sparse = mts.sparsify(copy.deepcopy(network), "sparse_magnitude", search)
        network.load_state_dict(mts.export(sparse).state_dict())


def has_two_in_four(weight: Tensor) -> bool:
    """Whether at least two of each four consecutive input channels are zero, at every output and every position.

    That is the pattern that TensorRT knows.

    Args:
        weight: (K, C) of a fully connected layer or (K, C, R, S) of a convolution.
    """
    if weight.shape[1] % 4:
        return False
    fours = weight.movedim(1, -1).reshape(-1, 4)  # (K * R * S * C / 4, 4)
    return bool(((fours != 0).sum(1) <= 2).all())


def weighted_layers(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose weights are compressed, by name: convolutions and fully connected layers."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}


def layer_zeros(network: nn.Module) -> dict[str, LayerZeros]:
    """The zeros of each layer."""
    weights = {name: layer.weight.detach() for name, layer in weighted_layers(network).items()}
    return {
        name: LayerZeros(weight.numel(), _zeros([weight]) / weight.numel(), has_two_in_four(weight))
        for name, weight in weights.items()
    }


def sparsity_of(network: nn.Module) -> float:
    """Share of all layers' weights that is zero, 0 to 1."""
    weights = [layer.weight for layer in weighted_layers(network).values()]
    return _zeros(weights) / sum(weight.numel() for weight in weights)


def is_pruned(network: nn.Module, sparsity: float) -> bool:
    """Whether as many weights are zero as ``prune_globally`` would leave."""
    weights = [layer.weight for layer in weighted_layers(network).values()]
    return _zeros(weights) >= int(sparsity * sum(weight.numel() for weight in weights))


def _zeros(weights: Sequence[Tensor]) -> int:
    return sum(int((weight == 0).sum()) for weight in weights)
