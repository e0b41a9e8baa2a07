"""Lightning's trainer with this project's habits, and checkpoints that are whole or not there.

In: a ``Recipe`` and callbacks. Out: ``lightning.Trainer``. Called by every step that trains.
"""

from __future__ import annotations

import logging
import shutil
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch.utils._pytree import tree_leaves

from alexnet_build.errors import TrainingError
from alexnet_build.training.recipe import Recipe

LAST_CHECKPOINT, BEST_CHECKPOINT = "last.ckpt", "best.ckpt"


def lightning_trainer(
    recipe: Recipe, output: Path, watchers: Sequence[callbacks.Callback], *, validate_every: int = 1, devices: int = 1
) -> lightning.Trainer:
    """A trainer for a recipe.

    Args:
        recipe: Epochs and arithmetic.
        output: Where TensorBoard's files go, in the folder ``tensorboard``.
        watchers: Callbacks; there are checkpoints only if one of them writes some.
        validate_every: Epochs between two looks at the validation photographs.
        devices: How many GPUs, or processes on a CPU; each takes its share of every batch.
    """
    _quiet_lightning()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = not recipe.deterministic
    return lightning.Trainer(
        max_epochs=recipe.epochs,
        precision=arithmetic(recipe),  # type: ignore[arg-type]
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,
        deterministic="warn" if recipe.deterministic else None,  # names what has no deterministic form
        callbacks=[_StopOnNaN(), *watchers],
        plugins=[WholeCheckpoints()],
        logger=TensorBoardLogger(output, name="", version="tensorboard"),
        log_every_n_steps=20,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(w, callbacks.ModelCheckpoint) for w in watchers),
        check_val_every_n_epoch=validate_every,
        num_sanity_val_steps=0,
    )


def arithmetic(recipe: Recipe) -> str:
    """Lightning's name of the arithmetic that a recipe means on this machine."""
    if recipe.precision != "auto":
        return recipe.precision
    return (
        "bf16-mixed"
        if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        else "32-true"
    )


def fit(
    trainer: lightning.Trainer,
    module: lightning.LightningModule,
    data: Any,
    checkpoint: Path | None = None,
    *,
    advice: Callable[[], str],
) -> None:
    """Train, from a checkpoint or from the beginning.

    Args:
        trainer: Of ``lightning_trainer``.
        module: What is trained.
        data: Its photographs.
        checkpoint: What to go on from.
        advice: How to go on after an interruption.

    Raises:
        TrainingError: The run was interrupted (Ctrl-C), could not save a checkpoint, or its loss is no number any more.
    """
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except Exception:
        if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
            trainer.strategy.launcher.kill(signal.SIGKILL)  # the others would wait for this process
        raise
    except SystemExit as error:  # how Lightning ends on Ctrl-C; it ignores further ones from then on
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise TrainingError(
            f"interrupted in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}; {advice()}"
        ) from error


class _StopOnNaN(callbacks.Callback):
    """Ends a run whose loss is no number any more before anything of that epoch is saved."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look at the epoch's mean loss."""
        if not torch.isfinite(trainer.callback_metrics["loss"]):
            raise TrainingError(
                f"the loss is no number any more in epoch {trainer.current_epoch + 1}: lower --learning-rate. "
                "What was saved before is whole"
            )


class Checkpoints(callbacks.ModelCheckpoint):
    """``last.ckpt``, or ``best.ckpt`` by top-1 accuracy, as a folder has it, wherever the folder has been moved to.

    Args:
        output: The folder.
        name: Of the file.
        every: Epochs between two.
    """

    def __init__(self, output: Path, name: str, every: int) -> None:
        best = name == BEST_CHECKPOINT
        super().__init__(
            output, Path(name).stem, monitor="val/top1" if best else None, mode="max", save_weights_only=best,
            save_top_k=1, every_n_epochs=every, enable_version_counter=False, save_on_train_epoch_end=True,
        )  # fmt: skip

    @property
    def state_key(self) -> str:
        """The same however often files are written."""
        return f"{type(self).__name__} {self.filename}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Find the files in the folder of today."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept, "dirpath": self.dirpath})


class Patience(callbacks.EarlyStopping):
    """Ends a run that does not improve; one that is resumed after its end stays ended."""

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remember how the run ended."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under another name and renames it: the one before stays until the new one is whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            TrainingError: There is no room; names the file, the space, and what is left to resume from.
        """
        path = Path(path)
        partial = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as RuntimeError
            partial.unlink(missing_ok=True)
            needed = sum(leaf.nbytes for leaf in tree_leaves(checkpoint) if isinstance(leaf, torch.Tensor))
            free = shutil.disk_usage(path.parent).free
            kept = (
                "The one before is whole: make room and run the same command with --resume"
                if (path.parent / LAST_CHECKPOINT).is_file()
                else "There is none from before: make room and start again"
            )
            raise TrainingError(
                f"the checkpoint {path} cannot be written ({_reason(error)}; it takes {needed / 1e6:.0f} MB, "
                f"{free / 1e6:.0f} MB are free). {kept}"
            ) from error
        partial.replace(path)


def _reason(error: BaseException) -> str:
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause).splitlines()[0]


def _quiet_lightning() -> None:
    """Its advertisements, and advice that does not hold where photographs are decoded once, on the device."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        "The '.*_dataloader' does not have many workers", "Total length of .* across ranks is zero",
        "The number of training batches", "Checkpoint directory .* exists", "`isinstance\\(treespec, LeafSpec\\)`",
        "Experiment logs directory .* exists", "The AccumulateGrad node.s stream does not match",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=f".*{message}")
