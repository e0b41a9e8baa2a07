"""Two sides' probabilities for the same views, compared.

In: (N, C) float32 from torch, and an engine. Out: a ``Parity`` for the manifest. Called by ``engine`` and
``alexnet-build verify``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexnet_build.verify.answers import Infer
from alexnet_build.verify.views import Views

#: How many of the worst views are named.
WORST = 8


@dataclass(frozen=True)
class Worst:
    """A view on which two sides differ.

    Attributes:
        index: Of the view.
        name: What it shows.
        difference: Largest absolute difference of any probability.
        expected: torch's first class and its probability.
        got: The engine's.
    """

    index: int
    name: str
    difference: float
    expected: tuple[str, float]
    got: tuple[str, float]

    def __str__(self) -> str:
        expected, got = (f"{label} {probability:.3f}" for label, probability in (self.expected, self.got))
        return f"{self.name}: torch says {expected}, the engine {got}; largest difference {self.difference:.1e}"


@dataclass(frozen=True)
class Parity:
    """How an engine's answers compare with torch's in FP32.

    Attributes:
        photographs: How many views of photographs were compared.
        top1_agreement: Share with the same first class.
        top5_agreement: Mean share of torch's five first classes that are among the engine's five.
        max_probability_difference: Largest absolute difference of any probability.
        mean_probability_difference: Mean over the views of half the sum of the absolute differences (total variation):
            the share of probability that went to other classes, 0 to 1; unlike a plain mean, it does not shrink with
            the number of classes.
        labelled: How many views have a known class.
        accuracy: The engine's share of right first classes among those; None without any.
        reference_accuracy: torch's.
        worst: The views with the largest differences, worst first.
    """

    photographs: int
    top1_agreement: float
    top5_agreement: float
    max_probability_difference: float
    mean_probability_difference: float
    labelled: int = 0
    accuracy: float | None = None
    reference_accuracy: float | None = None
    worst: tuple[Worst, ...] = ()


def parity(reference: np.ndarray, infer: Infer, views: Views, labels: Sequence[str], max_batch: int) -> Parity:
    """Run an engine in batches of changing size and compare.

    Args:
        reference: (N, C) float32 from torch.
        infer: The engine.
        views: N of them.
        labels: C names.
        max_batch: Largest batch of the engine; it is used, and so is a batch of 1.
    """
    batches, start = [], 0
    for size in (1, *[max_batch] * len(views)):
        batches.append(infer(views.pixels[start : start + size]))
        start += size
        if start >= len(views):
            break
    return compared(reference, np.concatenate(batches), views, labels)


def compared(reference: np.ndarray, answers: np.ndarray, views: Views, labels: Sequence[str]) -> Parity:
    """Compare (N, C) probabilities with torch's (N, C)."""
    difference = np.abs(answers - reference)
    largest = difference.max(1)
    first, expected = answers.argmax(1), reference.argmax(1)
    known = views.targets >= 0
    # NaN sorts last, so that it is worst
    order = np.argsort(largest)[::-1][:WORST]
    return Parity(
        photographs=len(views),
        top1_agreement=float((first == expected).mean()),
        top5_agreement=_top_agreement(reference, answers, 5),
        max_probability_difference=float(difference.max()),
        mean_probability_difference=float(difference.sum(1).mean() / 2),
        labelled=int(known.sum()),
        accuracy=float((first == views.targets)[known].mean()) if known.any() else None,
        reference_accuracy=float((expected == views.targets)[known].mean()) if known.any() else None,
        worst=tuple(
            Worst(
                int(index), views.names[index], float(largest[index]),
                (labels[expected[index]], float(reference[index].max())),
                (labels[first[index]], float(answers[index].max())),
            )
            for index in order
        ),
    )  # fmt: skip


def _top_agreement(reference: np.ndarray, answers: np.ndarray, k: int) -> float:
    k = min(k, reference.shape[1])
    theirs = np.argsort(-answers, axis=1, kind="stable")[:, :k]
    ours = np.argsort(-reference, axis=1, kind="stable")[:, :k]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(theirs, ours, strict=True)]))
