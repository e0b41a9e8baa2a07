"""Trains a network on a data folder with Lightning and saves its weights.

In: a ``Recipe``, a data folder, an output folder. Out, in the output folder: ``recipe.json``, ``weights.safetensors``,
checkpoints to resume from, TensorBoard's files and ``report.json``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from alexnet_build.errors import DataError
from alexnet_build.network import AlexNet2012, NetworkSpec, network_from_spec
from alexnet_build.training.classifier import ClassifierTraining
from alexnet_build.training.data import PhotographData
from alexnet_build.training.evaluate import Accuracy, accuracy
from alexnet_build.training.folders import DataFolder, Split
from alexnet_build.training.images import ServedPhotographs, served_photographs, square_photographs
from alexnet_build.training.recipe import Recipe
from alexnet_build.weights import TrainedNetwork, save_weights

LAST_CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class TrainingReport:
    """How a run went.

    Attributes:
        seconds: Wall time of the epochs.
        images_per_s: Training images a second over the whole run.
        val: Accuracy on the validation photographs of the weights that were kept, where there are any.
        test: Accuracy on the test photographs, where there are any.
    """

    seconds: float
    images_per_s: float
    val: Accuracy | None
    test: Accuracy | None


def train(
    folder: DataFolder, recipe: Recipe, output: Path, *, resume: bool = False, validate_every: int = 1,
    checkpoint_every: int = 1, progress: bool = True,
) -> TrainingReport:  # fmt: skip
    """Train from scratch.

    The weights that are kept are those of the epoch with the best top-1 accuracy on ``folder.val``, or of the last
    epoch where there is no such split. ``folder.test`` is never used to choose anything.

    Args:
        folder: The photographs.
        recipe: Everything that decides how the run goes.
        output: A folder for the results; made if missing.
        resume: Go on from the last checkpoint in ``output``.
        validate_every: Epochs between two looks at ``folder.val``.
        checkpoint_every: Epochs between two checkpoints; an interruption loses at most so many.
        progress: Show a progress bar.

    Raises:
        DataError: Photographs that cannot be read, or nothing to resume from.
    """
    output.mkdir(parents=True, exist_ok=True)
    if resume and not (output / LAST_CHECKPOINT).is_file():
        raise DataError(f"{output / LAST_CHECKPOINT} does not exist: there is no run to resume; leave out --resume")
    recipe.save(output)
    lightning.seed_everything(recipe.seed, verbose=False)
    spec = NetworkSpec(recipe.architecture, folder.train.labels)
    network = _trainable_network(spec, recipe)
    print(f"decoding {len(folder.train)} photographs", file=sys.stderr)
    val = served_split(folder.val, spec)
    data = PhotographData(
        square_photographs(folder.train, recipe.source_side), val, spec.classes, spec.image_size, recipe
    )
    module = ClassifierTraining(network, spec, recipe)
    keep_best = callbacks.ModelCheckpoint(
        output, "best", monitor="val/top1", mode="max", save_weights_only=True, every_n_epochs=validate_every,
        enable_version_counter=False,
    )  # fmt: skip
    trainer = lightning_trainer(
        recipe, output, [keep_best] if val else [], validate_every=validate_every,
        checkpoint_every=checkpoint_every, progress=progress,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=output / LAST_CHECKPOINT if resume else None)
    seconds = time.perf_counter() - started
    if val and keep_best.best_model_path:
        best = torch.load(keep_best.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
    return _finish(module, folder, val, output, seconds, recipe)


def lightning_trainer(
    recipe: Recipe, output: Path, extra: list[callbacks.Callback], *, validate_every: int = 1,
    checkpoint_every: int = 1, progress: bool = True,
) -> lightning.Trainer:  # fmt: skip
    """Lightning's trainer with this project's habits: a last checkpoint, learning rate, TensorBoard."""
    watchers: list[callbacks.Callback] = [*extra, callbacks.LearningRateMonitor("epoch")]
    if checkpoint_every:
        watchers.append(
            callbacks.ModelCheckpoint(
                output, "last", every_n_epochs=checkpoint_every, save_top_k=1, enable_version_counter=False
            )
        )
    if progress:
        watchers.append(_ProgressBar())
    if recipe.average_decay:
        watchers.append(callbacks.EMAWeightAveraging(decay=recipe.average_decay))
    _quiet_lightning()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return lightning.Trainer(
        max_epochs=recipe.epochs, precision=recipe.precision, callbacks=watchers,  # type: ignore[arg-type]
        logger=TensorBoardLogger(output, name="", version="tensorboard"), log_every_n_steps=20,
        enable_progress_bar=progress, enable_model_summary=False, check_val_every_n_epoch=validate_every,
        enable_checkpointing=any(isinstance(w, callbacks.ModelCheckpoint) for w in watchers),
        num_sanity_val_steps=0,
    )  # fmt: skip


class _ProgressBar(callbacks.RichProgressBar):
    """Loss and accuracy; the run's folder was named on the command line, so its name need not be shown."""

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def _quiet_lightning() -> None:
    """Its advertisements, and advice that does not hold where photographs are decoded once, on the device."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        "The '.*_dataloader' does not have many workers", "Total length of .* across ranks is zero",
        "The number of training batches", "Checkpoint directory .* exists", "`isinstance\\(treespec, LeafSpec\\)`",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=f".*{message}")


def _trainable_network(spec: NetworkSpec, recipe: Recipe) -> nn.Module:
    if recipe.architecture != "paper2012":
        return network_from_spec(spec).train().to(memory_format=torch.channels_last)
    network = AlexNet2012(spec.classes, batch_norm=recipe.batch_norm, dropout=recipe.dropout)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):  # He et al. 2015; the paper's N(0, 0.01) dies in fc6 here
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
    nn.init.normal_(network.fc8.weight, std=0.01)
    return network.to(memory_format=torch.channels_last)


def served_split(split: Split | None, spec: NetworkSpec) -> ServedPhotographs | None:
    """The photographs of a split as the network will be served them; None where there is no split."""
    return served_photographs(split, spec.image_size, spec.resize_short_side) if split else None


def _finish(
    module: ClassifierTraining, folder: DataFolder, val: ServedPhotographs | None, output: Path, seconds: float,
    recipe: Recipe,
) -> TrainingReport:  # fmt: skip
    network = module.network.eval()
    if isinstance(network, AlexNet2012):
        network.fold_batch_norm()
    trained = TrainedNetwork(module.spec, network.float())
    save_weights(trained, output / "weights.safetensors")
    test = served_split(folder.test, module.spec)
    steps = module.trainer.global_step
    report = TrainingReport(
        seconds=seconds,
        images_per_s=steps * min(recipe.batch_size, len(folder.train)) / seconds,
        val=accuracy(trained, val) if val else None,
        test=accuracy(trained, test) if test else None,
    )
    (output / "report.json").write_text(json.dumps(report, default=vars, indent=2) + "\n")
    return report
