"""What Lightning trains: a network, its loss, its optimiser and its learning rates."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from alexnet_build.network import NetworkSpec
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.transfer import Group, layer_groups, learns_from
from alexnet_build.weights import TrainedNetwork


class ClassifierTraining(lightning.LightningModule):
    """Train a network on (images in [0, 1], targets).

    Args:
        network: Normalised (N, 3, S, S) images to (N, C) logits.
        spec: The normalisation and the classes.
        recipe: Optimiser, schedule and loss.
        teacher: A network for the same classes whose probabilities are learnt beside the labels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, spec: NetworkSpec, recipe: Recipe, teacher: TrainedNetwork | None = None
    ) -> None:
        super().__init__()
        self.network, self.spec, self.recipe = network.to(memory_format=torch.channels_last), spec, recipe
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(1, 3, 1, 1), persistent=False)
        # validate_args would wait for the device at every step
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.train_top1 = MulticlassAccuracy(spec.classes, average="micro", validate_args=False)
        self.top1 = MulticlassAccuracy(spec.classes, average="micro", validate_args=False)
        self.top5 = MulticlassAccuracy(spec.classes, top_k=min(5, spec.classes), average="micro", validate_args=False)
        self.layers = layer_groups(network)
        for (
            layer,
            group,
        ) in self.layers.items():  # here: with several devices, gradients are arranged for before fitting
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(learns_from(group, recipe) < recipe.epochs)
        # in a list, so that it is not a submodule: it is neither trained nor saved
        self._teacher = [Teacher(teacher)] if teacher else []

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) images in [0, 1] to (N, C) logits."""
        return self.network(normalised(images, self.mean, self.std))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy against soft targets (N, C), blended with the divergence from the teacher, if there is one."""
        images, targets = batch
        logits = self(images)
        loss = functional.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        for teacher in self._teacher:
            share = self.recipe.distillation
            loss = (1 - share) * loss + share * teacher.divergence(logits, images, self.recipe.temperature)
        self.train_top1(logits.detach(), targets.argmax(1))
        self.train_loss(loss.detach())
        self.log("loss_step", loss.detach(), on_step=True, on_epoch=False)
        self.log("loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("accuracy", self.train_top1, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Top-1 and top-5 accuracy and cross-entropy against targets (N,)."""
        images, targets = batch
        logits = self(images)
        self.top1(logits, targets)
        self.top5(logits, targets)
        self.log("val/loss", functional.cross_entropy(logits, targets), sync_dist=True)
        self.log("val/top1", self.top1)
        self.log("val/top5", self.top5)

    def on_fit_start(self) -> None:
        """Put the teacher where the network is."""
        for teacher in self._teacher:
            teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Let layers that do not learn yet rest: their batch normalisation leaves its statistics alone."""
        for layer, group in self.layers.items():
            layer.train(learns_from(group, self.recipe) <= self.current_epoch)

    def configure_optimizers(self) -> Any:
        """SGD with Nesterov momentum; decay on weights alone; the recipe's schedule, stepped every batch.

        A group that does not learn yet has the learning rate 0, and warms up when it joins; one that never will has
        no gradients.
        """
        recipe = self.recipe
        groups: dict[tuple[Group, bool], list[Tensor]] = {}
        for layer, group in self.layers.items():
            for parameter in layer.parameters(recurse=False):
                if parameter.requires_grad:
                    groups.setdefault((group, parameter.dim() > 1), []).append(parameter)
        optimizer = torch.optim.SGD(
            [
                {"params": parameters, "weight_decay": recipe.weight_decay if decays else 0.0}
                for (_, decays), parameters in groups.items()
            ],
            lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0,
            # not with FP16's loss scaling: a step that it skips leaves fused momentum uninitialised
            fused=self.device.type == "cuda" and recipe.precision != "16-mixed",
        )  # fmt: skip
        steps_per_epoch = self.trainer.estimated_stepping_batches / max(recipe.epochs, 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, [self._learning_rate_factor(group, steps_per_epoch) for group, _ in groups]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _learning_rate_factor(self, group: Group, steps_per_epoch: float) -> Callable[[int], float]:
        recipe, start = self.recipe, learns_from(group, self.recipe)
        rate = recipe.old_rate if recipe.start != "scratch" and group != "head" else 1.0

        def factor(step: int) -> float:
            epoch = step / steps_per_epoch
            if epoch < start:
                return 0.0
            joined = min((epoch - start + 1e-3) / recipe.warmup_epochs, 1.0) if start and recipe.warmup_epochs else 1.0
            return rate * joined * recipe.learning_rate_factor(epoch)

        return factor


class Teacher:
    """A trained network whose softened probabilities another one learns (Hinton et al. 2015, section 2)."""

    def __init__(self, trained: TrainedNetwork) -> None:
        self.size = trained.spec.image_size
        self.network = copy.deepcopy(trained.network).eval().requires_grad_(False)
        self.mean = torch.tensor(trained.spec.mean).reshape(1, 3, 1, 1)
        self.std = torch.tensor(trained.spec.std).reshape(1, 3, 1, 1)

    def to(self, device: torch.device) -> None:
        """Move to where the images are."""
        self.network = self.network.to(device).to(memory_format=torch.channels_last)
        self.mean, self.std = self.mean.to(device), self.std.to(device)

    def divergence(self, logits: Tensor, images: Tensor, temperature: float) -> Tensor:
        """Kullback-Leibler divergence of the pupil from the teacher, both softened, times the temperature squared.

        Args:
            logits: (N, C) of the pupil.
            images: (N, 3, S, S) in [0, 1].
            temperature: What logits are divided by.
        """
        with torch.no_grad():
            if images.shape[-1] != self.size:
                images = functional.interpolate(images, size=(self.size, self.size), mode="bilinear")
            taught = self.network(normalised(images, self.mean, self.std))
        return temperature**2 * functional.kl_div(
            (logits / temperature).log_softmax(1),
            (taught / temperature).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(N, 3, S, S) images in [0, 1] as a network wants them, channels last in memory."""
    return torch.addcmul(-mean / std, images, 1 / std).contiguous(memory_format=torch.channels_last)
