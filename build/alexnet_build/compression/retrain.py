"""What the steps of compression share: training that goes on from a network, and its accuracy before and after.

In: a ``TrainedNetwork`` (the parent), the photographs that it was trained on, a ``Recipe``. Out: a network that was
trained on, accuracies by split, ``recipe.json``, ``report.json`` and ``history.csv``. Called by ``prune``, ``quantise``
and ``pack``.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from torch import Tensor, nn

from alexnet_build.errors import DataError
from alexnet_build.training.classifier import ClassifierTraining
from alexnet_build.training.data import PhotographData
from alexnet_build.training.evaluate import Accuracy, accuracy
from alexnet_build.training.folders import DataFolder
from alexnet_build.training.images import ServedPhotographs, served_photographs, square_photographs
from alexnet_build.training.progress import HISTORY_FILE, RunHistory, RunProgress
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.trainer import fit, lightning_trainer
from alexnet_build.weights import TrainedNetwork

#: Accuracy by stage of a step (``before``, ...), then by split.
Stages = dict[str, dict[str, Accuracy]]


@dataclass(frozen=True)
class Retraining:
    """Training that goes on from a network's weights, all layers at once.

    Attributes:
        parent: The network that the step starts from; it is left as it is.
        folder: The photographs that it was trained on.
        recipe: Epochs (0: no training), batch size, learning rate, share of the teacher.
        output: A folder for the results; made if missing.
        teacher: The network whose probabilities are learnt beside the labels; None for labels alone.
        progress: Show progress.

    Raises:
        DataError: The classes of the photographs are not those of the parent, or not those of the teacher.
    """

    parent: TrainedNetwork
    folder: DataFolder
    recipe: Recipe
    output: Path
    teacher: TrainedNetwork | None
    progress: bool = True

    def __post_init__(self) -> None:
        _check_classes("network", self.parent, self.folder)
        if self.teacher:
            _check_classes("teacher", self.teacher, self.folder)

    @cached_property
    def photographs(self) -> dict[str, ServedPhotographs]:
        """What accuracy is measured on, by split: ``val`` and ``test``, where there are such."""
        spec = self.parent.spec
        splits = {"val": self.folder.val, "test": self.folder.test}
        return {
            name: served_photographs(split, spec.image_size, spec.resize_short_side)
            for name, split in splits.items()
            if split
        }

    def accuracy(self, network: nn.Module) -> dict[str, Accuracy]:
        """Accuracy of a network with the parent's specification, by split; the network is on the CPU afterwards."""
        trained = TrainedNetwork(self.parent.spec, network)
        return {name: accuracy(trained, photographs) for name, photographs in self.photographs.items()}

    def train(self, network: nn.Module, watchers: Sequence[callbacks.Callback]) -> float:
        """Train a network in place; weights that are zero when an epoch starts stay zero.

        Args:
            network: The parent's network or what a step made of it; in FP32 on the CPU, in eval mode, afterwards.
            watchers: What changes the network between epochs; called before zeros are looked for.

        Returns:
            Wall time of the epochs, in seconds.

        Raises:
            TrainingError: The run was interrupted, or its loss is no number any more.
        """
        spec, recipe = self.parent.spec, self.own_recipe
        self.output.mkdir(parents=True, exist_ok=True)
        lightning.seed_everything(recipe.seed, verbose=False)
        photographs = square_photographs(self.folder.train, recipe.source_side, self.output)
        data = PhotographData(photographs, self.photographs.get("val"), spec.classes, spec.image_size, recipe)
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = recipe.dropout
        module = ClassifierTraining(network.train(), spec, recipe, self.teacher)
        history = RunHistory(self.output / HISTORY_FILE, min(recipe.batch_size, len(self.folder.train)))
        shown = [RunProgress(history)] if self.progress else []
        trainer = lightning_trainer(recipe, self.output, [*watchers, KeepZeros(), history, *shown])
        started = time.perf_counter()
        fit(trainer, module, data, advice=lambda: "nothing was saved; start again")
        network.eval().float().cpu()
        return time.perf_counter() - started

    def write_report(self, report: Any) -> None:
        """Write ``recipe.json`` and ``report.json``."""
        self.output.mkdir(parents=True, exist_ok=True)
        self.own_recipe.save(self.output)
        (self.output / "report.json").write_text(json.dumps(report, default=vars, indent=2) + "\n")

    @property
    def own_recipe(self) -> Recipe:
        """The recipe, in the words of a run whose layers all learn and whose last epoch counts."""
        architecture = self.parent.spec.architecture
        return replace(self.recipe, start="scratch", architecture=architecture, batch_norm=False, keep="last")


class KeepZeros(callbacks.Callback):
    """Weights that are zero when an epoch starts stay zero in it.

    So pruning, and the zeros of a parent, outlast every later step. It looks at the parameters themselves, whatever
    computes with them: a layer, a parametrisation, a fake quantiser.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look for zeros."""
        weights = [weight for weight in pl_module.parameters() if weight.dim() > 1]
        masks = [weight.detach() != 0 for weight in weights]
        self._kept = [(w, mask) for w, mask in zip(weights, masks, strict=True) if not mask.all()]

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """Put them back after the optimiser's step."""
        for weight, mask in self._kept:
            weight.mul_(mask)


@contextlib.contextmanager
def quiet_modelopt() -> Iterator[None]:
    """ModelOpt reports every layer on stdout and warns of libraries that are not used here."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_classes(who: str, trained: TrainedNetwork, folder: DataFolder) -> None:
    if folder.train.labels != trained.spec.labels:
        raise DataError(
            f"the {who} has {trained.spec.classes} classes ({', '.join(trained.spec.labels[:3])}, ...), the data "
            f"{len(folder.train.labels)} ({', '.join(folder.train.labels[:3])}, ...): compress with the photographs "
            "that the network was trained on"
        )
