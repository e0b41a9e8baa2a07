"""Accuracy of a network on photographs that are decoded already, as a run needs it again and again.

In: a trained network and served photographs. Out: probabilities, top-1 and top-5 accuracy. (The command
``alexnet-build evaluate`` is the package ``evaluation``.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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


def accuracy(trained: TrainedNetwork, photographs: ServedPhotographs) -> Accuracy:
    """Classify every photograph once, in FP32, without averaging over variations of it."""
    return accuracy_from_probabilities(served_probabilities(trained, photographs), photographs.targets)


def accuracy_from_probabilities(probabilities: Tensor, targets: Tensor) -> Accuracy:
    """Accuracy of (M, C) probabilities against (M,) class indices."""
    guesses = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
    hits = guesses == targets[:, None]  # (M, 5)
    return Accuracy(int(hits[:, 0].sum()) / len(hits), int(hits.any(1).sum()) / len(hits), len(hits))


def served_probabilities(trained: TrainedNetwork, photographs: ServedPhotographs) -> Tensor:
    """(M, C) float32 probabilities of every photograph, on the CPU; the network is there afterwards, too."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = trained.network.eval().to(device)
    mean, std = (torch.tensor(v, device=device).reshape(1, 3, 1, 1) for v in (trained.spec.mean, trained.spec.std))
    with exact_fp32():
        found = probabilities(lambda images: network((images - mean) / std), photographs, device)
    network.to("cpu")
    return found


@contextlib.contextmanager
def exact_fp32() -> Iterator[None]:
    """FP32 on a GPU as it is elsewhere: neither convolutions nor products round their inputs to TF32's 11 bits."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


@torch.inference_mode()
def probabilities(
    logits: Callable[[Tensor], Tensor], photographs: ServedPhotographs, device: torch.device, batch_size: int = 64
) -> Tensor:
    """(M, C) float32 probabilities, on the CPU, of what makes (N, C) logits of (N, 3, S, S) images in [0, 1]."""
    return torch.cat(
        [
            logits(pixels.to(device).float() / 255).float().softmax(1).cpu()
            for pixels in photographs.pixels.split(batch_size)
        ]
    )
