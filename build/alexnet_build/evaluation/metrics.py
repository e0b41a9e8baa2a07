"""Probabilities and true classes to numbers: accuracy, calibration, and what is taken for what.

In: (M, C) probabilities, M targets, C labels. Out: an ``Evaluation``. The metrics are torchmetrics'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

#: As in Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 5.
CALIBRATION_BINS = 15
#: What a server writes with six decimals can be told from 0 down to here; the likelihood needs a floor.
SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class ClassScore:
    """How one class fares.

    Attributes:
        label: Its name.
        photographs: How many there are of it, at least 1.
        top1: Share of them that are classified as it (its recall), 0 to 1.
        precision: Share of the photographs classified as it that show it, 0 to 1; None if there are none.
        confused_with: The class that its photographs are most often taken for; None if that never happens.
        confused_photographs: How many are.
    """

    label: str
    photographs: int
    top1: float
    precision: float | None
    confused_with: str | None
    confused_photographs: int


@dataclass(frozen=True)
class Confusion:
    """Photographs of one class that are taken for another.

    Attributes:
        truth: The class that they show.
        predicted: The class that they are taken for.
        photographs: How many.
        share: Of the photographs of ``truth``, 0 to 1.
    """

    truth: str
    predicted: str
    photographs: int
    share: float


@dataclass(frozen=True)
class Evaluation:
    """How good the answers to M photographs are.

    Attributes:
        photographs: M.
        top1: Share whose class is the first guess, 0 to 1.
        top5: Share whose class is among the first five guesses (or all of them, if there are fewer), 0 to 1.
        calibration_error: Mean distance between confidence and accuracy over 15 bins of confidence, 0 to 1.
        negative_log_likelihood: Mean of -ln p(true class), p at least 1e-6; nats.
        classes: Every class that has photographs, worst first.
        confusion: (C, C) int64, photographs by true class (row) and first guess (column).
        labels: C names.
    """

    photographs: int
    top1: float
    top5: float
    calibration_error: float
    negative_log_likelihood: float
    classes: tuple[ClassScore, ...]
    confusion: np.ndarray = field(compare=False, repr=False)
    labels: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        return (
            f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}, calibration error {self.calibration_error:.3f} "
            f"of {self.photographs} photographs"
        )

    def confusions(self) -> list[Confusion]:
        """Every pair of classes that is confused, most photographs first."""
        totals = self.confusion.sum(1)
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        found = [
            Confusion(self.labels[t], self.labels[p], int(wrong[t, p]), float(wrong[t, p] / totals[t]))
            for t, p in np.argwhere(wrong)
        ]
        return sorted(found, key=lambda pair: (-pair.photographs, -pair.share, pair.truth, pair.predicted))


@dataclass(frozen=True)
class Agreement:
    """How the answers of one source compare with those of another.

    Attributes:
        top1: Share of photographs with the same first class, 0 to 1.
        max_probability_difference: Largest absolute difference of any probability, 0 to 1.
    """

    top1: float
    max_probability_difference: float


def evaluation_from_probabilities(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Evaluation:
    """Compare answers with the truth.

    Args:
        probabilities: (M, C) float32, 0 to 1, C at least 2.
        targets: (M,) int64, 0 to C - 1, M at least 1.
        labels: C names.

    Raises:
        ValueError: The shapes do not fit together.
    """
    if probabilities.shape != (len(targets), len(labels)) or not len(targets):
        raise ValueError(f"{len(targets)} targets and {len(labels)} labels do not fit {probabilities.shape}")
    answers, truth, classes = torch.from_numpy(probabilities), torch.from_numpy(targets), len(labels)
    confusion = multiclass_confusion_matrix(answers, truth, classes).numpy()
    # Just below 1: torchmetrics gives a confidence of exactly 1 a bin of its own, and takes what lies above for logits.
    below_one = answers.clamp(0, float(np.nextafter(np.float32(1), np.float32(0))))
    true_probabilities = answers.gather(1, truth[:, None]).clamp(min=SMALLEST_PROBABILITY)  # (M, 1)
    return Evaluation(
        photographs=len(targets),
        top1=_number(multiclass_accuracy(answers, truth, classes, average="micro")),
        top5=_number(multiclass_accuracy(answers, truth, classes, average="micro", top_k=min(5, classes))),
        calibration_error=_number(multiclass_calibration_error(below_one, truth, classes, CALIBRATION_BINS, norm="l1")),
        negative_log_likelihood=_number(-true_probabilities.double().log().mean()),
        classes=_class_scores(answers, truth, labels, confusion),
        confusion=confusion,
        labels=tuple(labels),
    )


def agreement(
    reference: np.ndarray, reference_labels: Sequence[str], probabilities: np.ndarray, labels: Sequence[str]
) -> Agreement:
    """Compare two sources photograph by photograph; classes are matched by name.

    Args:
        reference: (M, C) float32.
        reference_labels: C names.
        probabilities: (M, D) float32.
        labels: D names. Probabilities of classes that one side alone has are left out of the difference.

    Raises:
        ValueError: The two have no class in common.
    """
    if tuple(labels) == tuple(reference_labels):
        ours, theirs = np.arange(len(labels)), np.arange(len(labels))
        same = reference.argmax(1) == probabilities.argmax(1)
    else:
        shared = sorted(set(labels) & set(reference_labels))
        if not shared:
            raise ValueError("the two networks have no class in common")
        ours = np.array([list(reference_labels).index(label) for label in shared])
        theirs = np.array([list(labels).index(label) for label in shared])
        same = np.array(reference_labels)[reference.argmax(1)] == np.array(labels)[probabilities.argmax(1)]
    largest = max(float(np.abs(a[ours] - b[theirs]).max()) for a, b in zip(reference, probabilities, strict=True))
    return Agreement(float(same.mean()), largest)


def _class_scores(
    answers: torch.Tensor, truth: torch.Tensor, labels: Sequence[str], confusion: np.ndarray
) -> tuple[ClassScore, ...]:
    recall = multiclass_recall(answers, truth, len(labels), average="none")
    precision = multiclass_precision(answers, truth, len(labels), average="none")
    scores = []
    for index in np.flatnonzero(confusion.sum(1)):
        others = confusion[index].copy()
        others[index] = 0
        confused = int(others.argmax())
        scores.append(
            ClassScore(
                label=labels[index],
                photographs=int(confusion[index].sum()),
                top1=_number(recall[index]),
                precision=_number(precision[index]) if confusion[:, index].any() else None,
                confused_with=labels[confused] if others[confused] else None,
                confused_photographs=int(others[confused]),
            )
        )
    return tuple(sorted(scores, key=lambda score: (score.top1, -score.photographs, score.label)))


def _number(measured: torch.Tensor) -> float:
    """Six decimals: what follows in float32, in which torchmetrics computes, is noise."""
    return round(float(measured), 6)
