"""The folder of a run: what is in it, whether a new run may use it, whether an old one can go on.

In: the folder that ``--output`` names. Out: errors before any work is done.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from alexnet_build.errors import DataError
from alexnet_build.training.progress import HISTORY_FILE
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.trainer import BEST_CHECKPOINT, LAST_CHECKPOINT

WEIGHTS_FILE, REPORT_FILE = "weights.safetensors", "report.json"
PICTURES = ("curves.png", "confusion.png", "misclassified.png")


def check_resumable(output: Path) -> None:
    """See that there is a run to go on with.

    Raises:
        DataError: There is none.
    """
    if not (output / LAST_CHECKPOINT).is_file():
        raise DataError(f"{output / LAST_CHECKPOINT} does not exist: there is no run to resume; leave out --resume")


def check_output(output: Path, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Refuse to mix two runs in one folder.

    Raises:
        DataError: There is nothing to resume, another recipe than the run's, or a run that would be overwritten.
    """
    if resume:
        check_resumable(output)
        if different := recipe.differences(Recipe.load(output)):
            raise DataError(
                f"{output} was started with another recipe ({'; '.join(different)}): resume it without these options, "
                "or give another --output"
            )
        return
    names = (LAST_CHECKPOINT, BEST_CHECKPOINT, WEIGHTS_FILE)
    present = [name for name in names if (output / name).exists()]
    if present and not overwrite and first_process():
        go_on = "go on with --resume, " if LAST_CHECKPOINT in present else ""
        raise DataError(
            f"{output} holds a run already ({', '.join(present)}): {go_on}begin anew with --overwrite, or give another "
            "--output"
        )


def delete_run(output: Path) -> None:
    """Delete what a run before left."""
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT, WEIGHTS_FILE, HISTORY_FILE, REPORT_FILE, *PICTURES):
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / "tensorboard", ignore_errors=True)


def advice_after_interruption(output: Path) -> str:
    """How to go on after an interruption."""
    if (output / LAST_CHECKPOINT).is_file():
        return "the same command with --resume goes on from the last checkpoint"
    return "there is no checkpoint to go on from: start again"


def first_process() -> bool:
    """Whether this process is the one that writes, of those that Lightning starts for several devices."""
    from lightning.pytorch.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
