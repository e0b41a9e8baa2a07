"""Trains a network on a data folder with Lightning and saves its weights.

In: a ``Recipe``, a data folder, an output folder. Out, in the output folder: ``recipe.json``, ``weights.safetensors``,
``best.ckpt`` and ``last.ckpt``, ``history.csv`` and its curves, pictures, TensorBoard's files and ``report.json``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch import callbacks

from alexnet_build.errors import DataError
from alexnet_build.network import AlexNet2012, NetworkSpec
from alexnet_build.training.classifier import ClassifierTraining, normalised
from alexnet_build.training.data import PhotographData
from alexnet_build.training.evaluate import (
    Accuracy,
    accuracy,
    served_probabilities,
)  # fmt: skip
from alexnet_build.training.folders import DataFolder, Split
from alexnet_build.training.images import (
    ServedPhotographs,
    SquarePhotographs,
    served_photographs,
    square_photographs,
)  # fmt: skip
from alexnet_build.training.pictures import RunPictures, write_curves
from alexnet_build.training.progress import HISTORY_FILE, RunHistory, RunProgress
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.run_folder import (
    REPORT_FILE,
    WEIGHTS_FILE,
    advice_after_interruption,
    check_output,
    delete_run,
    first_process,
)  # fmt: skip
from alexnet_build.training.trainer import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    Checkpoints,
    Patience,
    fit,
    lightning_trainer,
)  # fmt: skip
from alexnet_build.training.transfer import network_to_train
from alexnet_build.weights import TrainedNetwork, save_weights

#: Photographs that the statistics of inserted batch normalisations are taken from.
_STATISTICS_FROM = 512


@dataclass(frozen=True)
class TrainingReport:
    """How a run went.

    Attributes:
        epochs: How many were trained, those before a resumption included.
        seconds: Wall time of the epochs, validation and checkpoints included, since the last resumption.
        images_per_s: Median over the epochs of training images a second.
        val: Accuracy on the validation photographs of the weights that were kept, where there are any.
        test: Accuracy on the test photographs, where there are any.
        teacher: Accuracy of the teacher on ``val``, or else ``test``, where there is a teacher.
    """

    epochs: int
    seconds: float
    images_per_s: float
    val: Accuracy | None
    test: Accuracy | None
    teacher: Accuracy | None = None


def train(
    folder: DataFolder, recipe: Recipe, output: Path, *, teacher: TrainedNetwork | None = None, resume: bool = False,
    overwrite: bool = False, validate_every: int = 1, checkpoint_every: int = 1, devices: int | None = None,
    progress: bool = True,
) -> TrainingReport | None:  # fmt: skip
    """Train from scratch, or from other weights with a new head.

    The weights that are kept are those of the epoch with the best top-1 accuracy on ``folder.val``, or of the last
    epoch where there is no such split. ``folder.test`` is never used to choose anything.

    Args:
        folder: The photographs.
        recipe: Everything that decides how the run goes.
        output: A folder for the results; made if missing.
        teacher: A network for the same classes whose probabilities are learnt beside the labels.
        resume: Go on from the last checkpoint in ``output``.
        overwrite: Begin anew in a folder that holds a run; its checkpoints and weights are deleted.
        validate_every: Epochs between two looks at ``folder.val``.
        checkpoint_every: Epochs between two checkpoints; an interruption loses at most so many.
        devices: How many GPUs, or processes on a CPU, share each batch; None for every GPU, or one process.
        progress: Show progress.

    Returns:
        How the run went; None in the processes that Lightning starts for further devices.

    Raises:
        DataError: Photographs that cannot be read, nothing to resume from, another recipe than the run's, a folder
            that holds a run already.
        TrainingError: The run was interrupted, a checkpoint could not be written, or the loss is no number any more.
    """
    devices = devices or max(torch.cuda.device_count(), 1)
    _check_recipe(folder, recipe, teacher, devices)
    check_output(output, recipe, resume, overwrite)
    lightning.seed_everything(recipe.seed, verbose=False)
    spec, network = network_to_train(folder.train.labels, recipe)
    val, test = served_split(folder.val, spec), served_split(folder.test, spec)
    output.mkdir(parents=True, exist_ok=True)
    photographs = square_photographs(folder.train, recipe.source_side, output, processes=devices)
    if recipe.start != "scratch" and recipe.batch_norm and isinstance(network, AlexNet2012):
        _insert_batch_norm(network, spec, photographs)
    if first_process() and not resume:
        delete_run(output)
        recipe.save(output)
    module = ClassifierTraining(network, spec, recipe, teacher)
    data = PhotographData(photographs, val, spec.classes, spec.image_size, recipe)
    history = RunHistory(output / HISTORY_FILE, min(recipe.batch_size, len(folder.train)))
    pictures = RunPictures(output, spec.labels, val)
    watchers: list[callbacks.Callback] = [history, callbacks.LearningRateMonitor("epoch"), pictures]
    if progress:
        watchers.append(RunProgress(history))
    validate_every = min(validate_every, recipe.epochs)
    if val and recipe.patience:
        watchers.append(Patience("val/top1", mode="max", patience=recipe.patience))
    if val and recipe.keep == "best":
        watchers.append(Checkpoints(output, BEST_CHECKPOINT, validate_every))
    if checkpoint_every:
        watchers.append(Checkpoints(output, LAST_CHECKPOINT, checkpoint_every))
    trainer = lightning_trainer(recipe, output, watchers, validate_every=validate_every, devices=devices)
    started = time.perf_counter()
    fit(
        trainer,
        module,
        data,
        output / LAST_CHECKPOINT if resume else None,
        advice=lambda: advice_after_interruption(output),
    )
    seconds = time.perf_counter() - started
    if not trainer.is_global_zero:
        return None
    if val and recipe.keep == "best":
        best = torch.load(output / BEST_CHECKPOINT, map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
    trained = trained_network(module)
    save_weights(trained, output / WEIGHTS_FILE)
    report = _report(trained, val, test, history, seconds, _accuracy_of(teacher, folder) if teacher else None)
    (output / REPORT_FILE).write_text(json.dumps(report, default=vars, indent=2) + "\n")
    write_curves(history.rows, output / "curves.png")
    if looked_at := test or val:
        pictures.write(served_probabilities(trained, looked_at), looked_at)
    return report


def _report(
    trained: TrainedNetwork, val: ServedPhotographs | None, test: ServedPhotographs | None, history: RunHistory,
    seconds: float, teacher: Accuracy | None,
) -> TrainingReport:  # fmt: skip
    rates = sorted(row.images_per_s for row in history.rows)
    return TrainingReport(
        epochs=len(history.rows),
        seconds=seconds,
        images_per_s=rates[len(rates) // 2] if rates else 0.0,
        val=accuracy(trained, val) if val else None,
        test=accuracy(trained, test) if test else None,
        teacher=teacher,
    )


def trained_network(module: ClassifierTraining) -> TrainedNetwork:
    """What a module has learnt, as it is served: in FP32 on the CPU, batch normalisations merged."""
    network = module.network.eval().float().cpu()
    if isinstance(network, AlexNet2012):
        network.fold_batch_norm()
    return TrainedNetwork(module.spec, network)


def served_split(split: Split | None, spec: NetworkSpec) -> ServedPhotographs | None:
    """The photographs of a split as the network will be served them; None where there is no split."""
    return served_photographs(split, spec.image_size, spec.resize_short_side) if split else None


def _check_recipe(folder: DataFolder, recipe: Recipe, teacher: TrainedNetwork | None, devices: int) -> None:
    if torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise DataError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs")
    if recipe.batch_size % devices:
        raise DataError(
            f"a batch of {recipe.batch_size} cannot be shared evenly by {devices} devices; give another --batch-size, "
            "or --devices 1"
        )
    if recipe.patience and folder.val is None:
        raise DataError(
            "--patience ends a run by its validation photographs, and there are none: make a val/ beside train/, or "
            "hold some out with --val-fraction 0.1"
        )
    if teacher and teacher.spec.labels != folder.train.labels:
        raise DataError(
            f"the teacher has {teacher.spec.classes} classes ({', '.join(teacher.spec.labels[:3])}, ...), the data "
            f"{len(folder.train.labels)} ({', '.join(folder.train.labels[:3])}, ...): a teacher is trained on the same "
            "classes"
        )


def _insert_batch_norm(network: AlexNet2012, spec: NetworkSpec, photographs: SquarePhotographs) -> None:
    some = torch.randperm(len(photographs.targets))[:_STATISTICS_FROM]
    squeezed = photographs.pixels[some].float() / 255
    size = (spec.image_size, spec.image_size)
    images = torch.nn.functional.interpolate(squeezed, size=size, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (spec.mean, spec.std))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    network.insert_batch_norm(normalised(images.to(device), mean.to(device), std.to(device)))
    network.to("cpu")


def _accuracy_of(teacher: TrainedNetwork, folder: DataFolder) -> Accuracy | None:
    photographs = served_split(folder.val or folder.test, teacher.spec)
    return accuracy(teacher, photographs) if photographs else None
