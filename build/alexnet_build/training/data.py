"""Batches for Lightning: indices are drawn on the CPU, images are gathered and varied on the device.

In: decoded splits. Out: ``(images (N, 3, S, S) float in [0, 1], targets)``; targets are (N, C) soft labels while
training (mixup and cutmix blend them) and (N,) indices otherwise.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from alexnet_build.training.augment import augmented
from alexnet_build.training.images import ServedPhotographs, SquarePhotographs
from alexnet_build.training.recipe import Recipe


class PhotographData(lightning.LightningDataModule):
    """Photographs on the device, handed out in batches.

    Args:
        train: Training photographs.
        val: Photographs that are looked at after epochs, or None.
        classes: Number of classes C.
        size: Side S of the network's input, in pixels.
        recipe: Batch size and augmentation.
    """

    def __init__(
        self, train: SquarePhotographs, val: ServedPhotographs | None, classes: int, size: int, recipe: Recipe
    ) -> None:
        super().__init__()
        self.train, self.val, self.classes, self.size, self.recipe = train, val, classes, size, recipe
        self._mixes = (v2.MixUp(alpha=0.2, num_classes=classes), v2.CutMix(alpha=1.0, num_classes=classes))
        self._on_device: dict[str, Tensor] = {}

    def train_dataloader(self) -> DataLoader:
        """Shuffled indices of training photographs; the last incomplete batch is left out unless it is the only one."""
        indices = TensorDataset(torch.arange(len(self.train.targets)))
        whole = len(indices) >= self.recipe.batch_size
        return DataLoader(indices, self.recipe.batch_size, shuffle=True, drop_last=whole)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Indices of validation photographs, in order."""
        if self.val is None:
            return []
        return DataLoader(TensorDataset(torch.arange(len(self.val.targets))), self.recipe.batch_size)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Turn indices, already on the device, into images and targets."""
        (indices,) = batch
        if self.trainer is not None and self.trainer.training:
            return self._training_batch(indices)
        assert self.val is not None
        pixels = self._held(indices.device, "val pixels", self.val.pixels)[indices]
        return pixels.float() / 255, self._held(indices.device, "val targets", self.val.targets)[indices]

    def _training_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        device, how = indices.device, self.recipe.augmentation
        pixels = self._held(device, "pixels", self.train.pixels)[indices]
        aspects = self._held(device, "aspects", self.train.aspects)[indices]
        targets = self._held(device, "targets", self.train.targets)[indices]
        images = augmented(pixels, aspects, self.size, how)
        if torch.rand(()) < how.mix and len(indices) > 1:
            return self._mixes[int(torch.rand(()) < 0.5)](images, targets)
        return images, functional.one_hot(targets, self.classes).float()

    def _held(self, device: torch.device, name: str, tensor: Tensor) -> Tensor:
        """The tensor on the device, moved there once."""
        key = f"{name} {device}"
        if key not in self._on_device:
            self._on_device[key] = tensor.to(device)
        return self._on_device[key]
