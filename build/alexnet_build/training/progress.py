"""What a run shows while it goes: one line with loss, accuracy, learning rate and images a second, and its history.

In: Lightning's logged values. Out: a progress bar on stderr, and ``history.csv`` with a row for each epoch.
"""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import callbacks
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

HISTORY_FILE = "history.csv"


@dataclass(frozen=True)
class EpochRow:
    """One epoch in numbers; accuracies are shares from 0 to 1, None where an epoch had no look at ``val``.

    Attributes:
        epoch: From 1.
        seconds: Wall time of the epoch's training steps.
        images_per_s: Training images a second, on all devices together.
        learning_rate: The highest of the groups' learning rates at the end of the epoch.
        loss: Mean training loss.
        accuracy: Top-1 accuracy on the varied training images; where two are mixed, the larger share counts.
        val_loss: Cross-entropy on the validation photographs.
        val_top1: Top-1 accuracy there.
        val_top5: Top-5 accuracy there.
    """

    epoch: int
    seconds: float
    images_per_s: float
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float | None = None
    val_top1: float | None = None
    val_top5: float | None = None


def history_from_csv(path: Path) -> list[EpochRow]:
    """The epochs that a run's ``history.csv`` holds; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            EpochRow(int(row.pop("epoch")), **{name: float(value) if value else None for name, value in row.items()})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]


class RunHistory(callbacks.Callback):
    """Collects an ``EpochRow`` an epoch, writes them to a file, and sends images a second to TensorBoard.

    Args:
        path: The CSV file; epochs before the one that a resumed run starts at are kept.
        images_per_step: Photographs a step, on all devices together.
    """

    def __init__(self, path: Path, images_per_step: int) -> None:
        self.path, self.images_per_step = path, images_per_step
        self.rows: list[EpochRow] = []
        self._started = self._finished = 0.0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Read what a run that is resumed has behind it, be it all of it."""
        self.rows = history_from_csv(self.path)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget what is done once more."""
        self.rows = [row for row in self.rows if row.epoch <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock after the last step; what follows is validation and checkpoints."""
        if trainer.is_last_batch:
            float(outputs["loss"])  # waits for the device
            self._finished = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch's row."""
        seconds = self._finished - self._started
        images_per_s = trainer.num_training_batches * self.images_per_step / seconds
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        val = {f"val_{name}": found.get(f"val/{name}") if validated else None for name in ("loss", "top1", "top5")}
        rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        row = EpochRow(trainer.current_epoch + 1, seconds, images_per_s, rate, found["loss"], found["accuracy"], **val)
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics({"images_per_s": images_per_s}, trainer.global_step)
        if trainer.is_global_zero:
            partial = self.path.with_name(self.path.name + ".part")
            with partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, [f.name for f in fields(EpochRow)])
                writer.writeheader()
                writer.writerows(asdict(row) for row in self.rows)
            partial.replace(self.path)


class RunProgress(callbacks.Callback):
    """One bar for the whole run on a terminal, a line for an epoch elsewhere (at most one in ten seconds)."""

    def __init__(self, history: RunHistory) -> None:
        self.history = history
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._shown = self._printed = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw the bar."""
        if not (sys.stderr.isatty() and trainer.is_global_zero):
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"), TimeRemainingColumn(compact=True),
            console=Console(stderr=True), transient=False,
        )  # fmt: skip
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        done = trainer.current_epoch * int(trainer.num_training_batches)
        self._task = self._bar.add_task(
            "", total=total, completed=done, epoch=trainer.current_epoch + 1, epochs=trainer.max_epochs, numbers=""
        )
        self._bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on; numbers are fetched from the device only four times a second, since that waits for it."""
        if self._bar is None or time.monotonic() - self._shown < 0.25:
            return
        self._shown = time.monotonic()
        done = trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1
        numbers = f"loss {float(outputs['loss']):.3f}  "
        if self.history.rows:
            last = self.history.rows[-1]
            seen = [row.val_top1 for row in self.history.rows if row.val_top1 is not None]
            val = f"val {seen[-1]:.1%}  " if seen else ""
            numbers += (
                f"accuracy {last.accuracy:.1%}  {val}rate {last.learning_rate:.2g}  {last.images_per_s:,.0f} images/s"
            )
        self._bar.update(self._task, completed=done, epoch=trainer.current_epoch + 1, numbers=numbers)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print the epoch where there is no terminal."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self._bar or not trainer.is_global_zero or (time.monotonic() - self._printed < 10 and not last):
            return
        self._printed = time.monotonic()
        row = self.history.rows[-1]
        val = f"  val {row.val_top1:.1%}" if row.val_top1 is not None else ""
        print(
            f"epoch {row.epoch}/{trainer.max_epochs}  loss {row.loss:.3f}  accuracy {row.accuracy:.1%}{val}  "
            f"rate {row.learning_rate:.2g}  {row.images_per_s:,.0f} images/s",
            file=sys.stderr,
        )

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
