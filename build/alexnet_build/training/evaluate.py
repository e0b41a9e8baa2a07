"""Accuracy of a network on photographs, as the server would see them.

In: a trained network and served photographs. Out: top-1 and top-5 accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from alexnet_build.training.images import ServedPhotographs
from alexnet_build.weights import TrainedNetwork


@dataclass(frozen=True)
class Accuracy:
    """Shares of photographs whose class is the network's first guess, or among its first five; 0 to 1."""

    top1: float
    top5: float
    photographs: int

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%} of {self.photographs} photographs"


@torch.inference_mode()
def accuracy(trained: TrainedNetwork, photographs: ServedPhotographs, batch_size: int = 64) -> Accuracy:
    """Classify every photograph once, in FP32, without averaging over variations of it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = trained.network.eval().to(device)
    mean = torch.tensor(trained.spec.mean, device=device).reshape(1, 3, 1, 1)
    std = torch.tensor(trained.spec.std, device=device).reshape(1, 3, 1, 1)
    first = five = 0
    for start in range(0, len(photographs.targets), batch_size):
        pixels = photographs.pixels[start : start + batch_size].to(device)  # (N, 3, S, S) uint8
        targets = photographs.targets[start : start + batch_size].to(device)
        guesses = network((pixels.float() / 255 - mean) / std).topk(min(5, trained.spec.classes), dim=1).indices
        hits = guesses == targets[:, None]  # (N, 5)
        first += int(hits[:, 0].sum())
        five += int(hits.any(1).sum())
    network.to("cpu")
    total = len(photographs.targets)
    return Accuracy(first / total, five / total, total)
