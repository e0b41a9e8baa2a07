"""Pictures of a run: its curves, its confusions, and the photographs that it gets wrong.

In: the history of a run, a network, photographs. Out: ``curves.png``, ``confusion.png``, ``misclassified.png``, and
the latter two in TensorBoard while the run goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch import callbacks
from torch import Tensor

from alexnet_build.evaluation.metrics import evaluation_from_probabilities
from alexnet_build.evaluation.pictures import confusion_figure, misclassified_figure
from alexnet_build.training.evaluate import probabilities
from alexnet_build.training.images import ServedPhotographs
from alexnet_build.training.progress import EpochRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How often in a run, besides its end, pictures go to TensorBoard: drawing takes a second.
_TIMES = 5
_WORST = 24


class RunPictures(callbacks.Callback):
    """Draws confusions and mistakes on the validation photographs.

    Args:
        output: The run's folder.
        labels: Names of the classes.
        val: The validation photographs; without them nothing is drawn while the run goes.
    """

    def __init__(self, output: Path, labels: Sequence[str], val: ServedPhotographs | None) -> None:
        self.output, self.labels, self.val = output, labels, val

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw a few times in a run."""
        between = trainer.check_val_every_n_epoch or 1
        look, looks = (trainer.current_epoch + 1) // between, (trainer.max_epochs or 1) // between
        every = max(looks // _TIMES, 1)
        if self.val is None or not trainer.is_global_zero or (look % every and look != looks):
            return
        board: Any = trainer.logger.experiment  # type: ignore[union-attr]
        found = probabilities(pl_module, self.val, pl_module.device)  # the module is in eval mode here
        for name, figure in self._figures(found, self.val).items():
            board.add_figure(f"val/{name}", figure, global_step=trainer.global_step)

    def write(self, found: Tensor, photographs: ServedPhotographs) -> None:
        """Draw what was kept, into files.

        Args:
            found: (M, C) probabilities of the photographs.
            photographs: M of them.
        """
        for name, figure in self._figures(found, photographs).items():
            figure.savefig(self.output / f"{name}.png")

    def _figures(self, found: Tensor, photographs: ServedPhotographs) -> dict[str, Figure]:
        evaluation = evaluation_from_probabilities(found.numpy(), photographs.targets.numpy(), self.labels)
        figures = {"confusion": confusion_figure(evaluation.confusion, self.labels)}
        scores, guesses = found.max(1)
        wrong = torch.nonzero(guesses != photographs.targets).flatten()
        worst = wrong[scores[wrong].argsort(descending=True)][:_WORST]
        if len(worst):
            images = photographs.pixels[worst].permute(0, 2, 3, 1).numpy()  # (W, S, S, 3) uint8
            captions = [
                f"{self.labels[truth]}\ntaken for {self.labels[guess]} ({score:.0%})"
                for truth, guess, score in zip(
                    photographs.targets[worst].tolist(), guesses[worst].tolist(), scores[worst].tolist(), strict=True
                )
            ]
            figures["misclassified"] = misclassified_figure(images, captions)
        return figures


def write_curves(rows: Sequence[EpochRow], path: Path) -> None:
    """Draw loss, accuracy and learning rate over the epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.4), dpi=110, layout="constrained")
    loss, share, rate = figure.subplots(1, 3)
    epochs = [row.epoch for row in rows]
    looked = [row for row in rows if row.val_top1 is not None]
    loss.plot(epochs, [row.loss for row in rows], color="#4477aa", label="training (varied, smoothed targets)")
    share.plot(epochs, [100 * row.accuracy for row in rows], color="#4477aa", label="training (varied)")
    if looked:
        seen = [row.epoch for row in looked]
        loss.plot(seen, [row.val_loss for row in looked], color="#cc6677", label="validation")
        share.plot(seen, [100 * (row.val_top1 or 0) for row in looked], color="#cc6677", label="validation")
    rate.plot(epochs, [row.learning_rate for row in rows], color="#4477aa")
    for axes, title in ((loss, "cross-entropy"), (share, "top-1 accuracy, %"), (rate, "learning rate")):
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.grid(color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    loss.legend(fontsize=8, frameon=False)
    share.legend(fontsize=8, frameon=False)
    figure.savefig(path)
