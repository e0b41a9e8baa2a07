"""A training recipe: every number that decides how a run goes, saved beside its results.

In: options of the command line. Out: a frozen ``Recipe``; the same recipe, photographs and seed give the same run.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from alexnet_build.errors import DataError
from alexnet_build.training.augment import Augmentation

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Attributes:
        start: ``scratch``, or the weights to start from: ``imagenet``, ``demo`` or a file.
        teacher: Weights of a network for the same classes to learn from; empty for none.
        architecture: The network of a run from scratch; see ``network.NetworkSpec``.
        batch_norm: Train with batch normalisation and merge it into the weights at the end (``paper2012`` alone).
        freeze: ``features``: the convolutions that a run started from never learn; ``nothing``: all layers do.
        unfreeze_epochs: Length of a stage of unfreezing: the new head learns alone at first, then with the other
            fully connected layers, then with the convolutions. 0: all learn from the beginning.
        old_rate: What the learning rate of layers that a run started from is multiplied by.
        epochs: Passes over the training photographs.
        batch_size: Photographs a step, on all devices together.
        learning_rate: Of SGD, at its highest.
        momentum: Of SGD, with Nesterov's correction.
        weight_decay: L2 penalty on weights; biases and normalisations have none.
        schedule: ``cosine`` (linear warm-up, then half a cosine down to 0) or ``step`` (times ``step_factor``
            every ``step_epochs`` epochs).
        warmup_epochs: Length of the warm-up of ``cosine``.
        step_epochs: Epochs between two drops of ``step``.
        step_factor: What the learning rate is multiplied by at a drop of ``step``.
        dropout: Of fc6 and fc7.
        label_smoothing: Share of the target spread over all classes (Szegedy et al. 2016, section 7).
        distillation: Share of the loss that compares with a teacher, 0 to 1, where there is one.
        temperature: Of the teacher's softened probabilities (Hinton et al. 2015, section 2).
        patience: Looks at the validation photographs without a better top-1 accuracy before the run ends; 0: never.
        keep: ``best``: the weights of the epoch with the best top-1 accuracy on the validation photographs, where
            there are any; ``last``: those of the last epoch.
        val_fraction: Share of the training photographs held out for validation.
        source_side: Side R that training photographs are squeezed to, in pixels.
        augmentation: How training images are varied.
        seed: Of initial weights, order, augmentation.
        precision: Lightning's name of the arithmetic, e.g. ``32-true`` or ``bf16-mixed``; ``auto``: the latter on a
            GPU that has it.
        deterministic: Let a GPU use only algorithms that give the same result every time; slower.
    """

    start: str = "scratch"
    teacher: str = ""
    architecture: str = "paper2012"
    batch_norm: bool = True
    freeze: Literal["nothing", "features"] = "nothing"
    unfreeze_epochs: int = 0
    old_rate: float = 1.0
    epochs: int = 90
    batch_size: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-3
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: float = 5
    step_epochs: int = 30
    step_factor: float = 0.1
    dropout: float = 0.5
    label_smoothing: float = 0.1
    distillation: float = 0.7
    temperature: float = 2.0
    patience: int = 0
    keep: Literal["best", "last"] = "best"
    val_fraction: float = 0.0
    source_side: int = 256
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    precision: str = "auto"
    deterministic: bool = False

    def save(self, directory: Path) -> None:
        """Write the recipe into a run's folder."""
        (directory / RECIPE_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """The recipe that a file, or a run's folder, holds.

        Raises:
            DataError: There is no such file, or it holds something else.
        """
        file = path / RECIPE_FILE if path.is_dir() else path
        try:
            values: dict[str, Any] = json.loads(file.read_text())
            return cls(**{**values, "augmentation": Augmentation(**values["augmentation"])})
        except OSError as error:
            raise DataError(f"there is no recipe {file}; expected the {RECIPE_FILE} of an earlier run") from error
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{file} is no recipe of this version: {error}; give the options instead") from error

    def changed(self, values: dict[str, Any]) -> Recipe:
        """The recipe with other values; names of ``Augmentation``'s attributes are looked up there."""
        own = {f.name for f in fields(self)}
        augmentation = {name: value for name, value in values.items() if name not in own}
        ours = {name: value for name, value in values.items() if name in own}
        return replace(self, **ours, augmentation=replace(self.augmentation, **augmentation))

    def differences(self, other: Recipe) -> list[str]:
        """What differs in another recipe, as ``name: ours, there theirs``."""
        return [
            f"{f.name}: {getattr(self, f.name)}, there {getattr(other, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]

    def learning_rate_factor(self, epoch: float) -> float:
        """What the learning rate is multiplied by at a (fractional) epoch."""
        if self.schedule == "step":
            return self.step_factor ** int(epoch // self.step_epochs)
        if epoch < self.warmup_epochs:
            return (epoch + 1e-3) / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
