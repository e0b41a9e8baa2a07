"""Batches for Lightning: indices are drawn on the CPU, images are gathered and varied on the device.

In: decoded splits. Out: ``(images (N, 3, S, S) float in [0, 1], targets)``; targets are (N, C) soft labels while
training (mixup and cutmix blend them) and (N,) indices otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, Sampler, SequentialSampler, TensorDataset
from torchvision.transforms import v2

from alexnet_build.training.augment import augmented
from alexnet_build.training.images import ServedPhotographs, SquarePhotographs
from alexnet_build.training.recipe import Recipe

#: Share of a GPU's free memory that photographs may take; the rest is the network's.
_SHARE_OF_DEVICE = 0.5


class PhotographData(lightning.LightningDataModule):
    """Photographs on the device, or in memory where they do not fit there, handed out in batches.

    Args:
        train: Training photographs.
        val: Photographs that are looked at after epochs, or None.
        classes: Number of classes C.
        size: Side S of the network's input, in pixels.
        recipe: Batch size, augmentation and seed.
    """

    def __init__(
        self, train: SquarePhotographs, val: ServedPhotographs | None, classes: int, size: int, recipe: Recipe
    ) -> None:
        super().__init__()
        self.train, self.val, self.classes, self.size, self.recipe = train, val, classes, size, recipe
        self._mixes = (v2.MixUp(alpha=0.2, num_classes=classes), v2.CutMix(alpha=1.0, num_classes=classes))
        self._on_device: dict[str, Tensor] = {}

    def train_dataloader(self) -> DataLoader:
        """Shuffled indices of training photographs, those of this process if there are several.

        The last incomplete batch is left out unless it is the only one.
        """
        assert self.trainer is not None
        count = len(self.train.targets)
        order = _EpochShuffle(self.trainer, count, self.recipe)
        whole = count >= self.recipe.batch_size
        return _index_loader(order, count, self.recipe.batch_size // self.trainer.world_size, whole)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Indices of validation photographs, in order."""
        if self.val is None:
            return []
        count = len(self.val.targets)
        return _index_loader(SequentialSampler(range(count)), count, min(self.recipe.batch_size, 256), False)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Turn indices, already on the device, into images and targets."""
        (indices,) = batch
        if self.trainer is not None and self.trainer.training:
            return self._training_batch(indices)
        assert self.val is not None
        pixels = self._gathered("val pixels", self.val.pixels, indices)
        return pixels.float() / 255, self._gathered("val targets", self.val.targets, indices)

    def _training_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        assert self.trainer is not None
        # Drawn anew for every step, so that a resumed run goes on as if it had never stopped; dropout follows from it.
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.trainer.global_step) * 1_009 + self.trainer.global_rank)
        how = self.recipe.augmentation
        pixels = self._gathered("pixels", self.train.pixels, indices)
        aspects = self._gathered("aspects", self.train.aspects, indices)
        targets = self._gathered("targets", self.train.targets, indices)
        images = augmented(pixels, aspects, self.size, how)
        if torch.rand(()) < how.mix and len(indices) > 1:
            return self._mixes[int(torch.rand(()) < 0.5)](images, targets)
        return images, functional.one_hot(targets, self.classes).float()

    def _gathered(self, name: str, tensor: Tensor, indices: Tensor) -> Tensor:
        """Rows of a tensor on the indices' device; the whole tensor is moved there, once, if it fits."""
        device = indices.device
        key = f"{name} {device}"
        if key not in self._on_device:
            fits = device.type == "cpu" or tensor.nbytes < _SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]
            self._on_device[key] = tensor.to(device).contiguous() if fits and device.type != "cpu" else tensor
        held = self._on_device[key]
        return held[indices] if held.device == device else held[indices.cpu()].to(device)


class _EpochShuffle(Sampler[int]):
    """torch's shuffled share of one process, anew for the epoch that the trainer is in, a resumed one included."""

    def __init__(self, trainer: lightning.Trainer, count: int, recipe: Recipe) -> None:
        self._trainer = trainer
        everything: Any = range(count)
        whole = count >= recipe.batch_size
        self._shuffle: Any = DistributedSampler(
            everything, trainer.world_size, trainer.global_rank, seed=recipe.seed, drop_last=whole
        )

    def __iter__(self) -> Iterator[int]:
        self._shuffle.set_epoch(self._trainer.current_epoch)
        return iter(self._shuffle)

    def __len__(self) -> int:
        return len(self._shuffle)


def _index_loader(order: Sampler[int], count: int, batch_size: int, drop_last: bool) -> DataLoader:
    """Whole batches of indices at once: collating them one by one takes longer than a step on a GPU."""
    batches = BatchSampler(order, batch_size, drop_last)
    return DataLoader(TensorDataset(torch.arange(count)), batch_size=None, sampler=batches)
