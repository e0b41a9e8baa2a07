"""What Lightning trains: a network, its loss, its optimiser and its learning rate."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from alexnet_build.network import NetworkSpec
from alexnet_build.training.recipe import Recipe


class ClassifierTraining(lightning.LightningModule):
    """Train a network on (images in [0, 1], targets).

    Args:
        network: Normalised (N, 3, S, S) images to (N, C) logits.
        spec: The normalisation and the classes.
        recipe: Optimiser, schedule and loss.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, spec: NetworkSpec, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.spec, self.recipe = network, spec, recipe
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(1, 3, 1, 1), persistent=False)
        self.top1 = MulticlassAccuracy(spec.classes, average="micro")
        self.top5 = MulticlassAccuracy(spec.classes, top_k=min(5, spec.classes), average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) images in [0, 1] to (N, C) logits."""
        normalised = (images - self.mean) / self.std
        return self.network(normalised.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy against soft targets (N, C)."""
        images, targets = batch
        logits = self(images)
        loss = functional.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Top-1 and top-5 accuracy and cross-entropy against targets (N,)."""
        images, targets = batch
        logits = self(images)
        self.top1(logits, targets)
        self.top5(logits, targets)
        self.log("val/loss", functional.cross_entropy(logits, targets), prog_bar=True)
        self.log("val/top1", self.top1, prog_bar=True)
        self.log("val/top5", self.top5)

    def configure_optimizers(self) -> Any:
        """SGD with Nesterov momentum; decay on weights alone; the recipe's schedule, stepped every batch."""
        recipe = self.recipe
        weights = [p for p in self.network.parameters() if p.requires_grad and p.dim() > 1]
        others = [p for p in self.network.parameters() if p.requires_grad and p.dim() <= 1]
        groups = [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0
        )
        steps_per_epoch = self.trainer.estimated_stepping_batches / max(recipe.epochs, 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: recipe.learning_rate_factor(step / steps_per_epoch)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
