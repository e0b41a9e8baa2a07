"""A training recipe: every number that decides how a run goes, saved beside its results.

In: options of the command line. Out: a frozen ``Recipe``; the same recipe and seed give the same run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from alexnet_build.network import Architecture
from alexnet_build.training.augment import Augmentation

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Attributes:
        architecture: The network; see ``network.NetworkSpec``.
        batch_norm: Train with batch normalisation and merge it into the weights at the end.
        epochs: Passes over the training photographs.
        batch_size: Photographs a step.
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
        average_decay: Decay of the exponential moving average of the weights that is kept in the end; 0: none.
        source_side: Side R that training photographs are squeezed to, in pixels.
        augmentation: How training images are varied.
        seed: Of initial weights, order, augmentation.
        precision: Lightning's name of the arithmetic, e.g. ``32-true`` or ``bf16-mixed``.
    """

    architecture: Architecture = "paper2012"
    batch_norm: bool = True
    epochs: int = 90
    batch_size: int = 128
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-3
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: int = 5
    step_epochs: int = 30
    step_factor: float = 0.1
    dropout: float = 0.5
    label_smoothing: float = 0.1
    average_decay: float = 0.0
    source_side: int = 256
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    precision: str = "32-true"

    def save(self, directory: Path) -> None:
        """Write the recipe into a run's folder."""
        (directory / RECIPE_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Recipe:
        """The recipe that a run's folder holds."""
        values: dict[str, Any] = json.loads((directory / RECIPE_FILE).read_text())
        return cls(**{**values, "augmentation": Augmentation(**values["augmentation"])})

    def learning_rate_factor(self, epoch: float) -> float:
        """What the learning rate is multiplied by at a (fractional) epoch."""
        import math

        if self.schedule == "step":
            return self.step_factor ** int(epoch // self.step_epochs)
        if epoch < self.warmup_epochs:
            return (epoch + 1e-3) / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
