"""What an evaluation says, as a table, as JSON and as a folder of files.

In: ``Measured``, one a source; the first is the one that others are compared with. Out: text, and files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_build.evaluation.metrics import Agreement, Evaluation, agreement, evaluation_from_probabilities
from alexnet_build.evaluation.photographs import network_targets
from alexnet_build.evaluation.pictures import (
    confusion_figure,
    misclassified_figure,
    reliability_figure,
    shortened,
)
from alexnet_build.evaluation.sources import Answers
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.training.folders import Split

WORST_CLASSES = 10
MISCLASSIFIED = 20
_SIDE, _RESIZE = 224, 256  # of the photographs in misclassified.png, as the network sees them give or take three pixels


@dataclass(frozen=True)
class Measured:
    """One source, measured.

    Attributes:
        answers: What it said.
        targets: (M,) int64, the true classes among its labels.
        evaluation: How good that is.
        agreement: With the first source; None for the first itself.
    """

    answers: Answers
    targets: np.ndarray
    evaluation: Evaluation
    agreement: Agreement | None

    @property
    def photographs_per_s(self) -> float:
        """Throughput, decoding included."""
        return self.evaluation.photographs / self.answers.seconds


def measured_from_answers(all_answers: Sequence[Answers], split: Split) -> list[Measured]:
    """Evaluate each source, and compare it with the first."""
    first, measured = all_answers[0], []
    for answers in all_answers:
        labels = answers.source.labels
        targets = network_targets(split, labels, answers.source.origin)
        evaluation = evaluation_from_probabilities(answers.probabilities, targets, labels)
        agreed = None
        if answers is not first:
            agreed = agreement(first.probabilities, first.source.labels, answers.probabilities, labels)
        measured.append(Measured(answers, targets, evaluation, agreed))
    return measured


def table(measured: Sequence[Measured], top_confusions: int) -> str:
    """Each source in a line; then the worst classes and the most frequent confusions of the first."""
    heads = ["source", "from", "top-1", "top-5", "calibration error", "NLL", "photographs/s"]
    rows = []
    for each in measured:
        found, source = each.evaluation, each.answers.source
        numbers = [f"{found.top1:.2%}", f"{found.top5:.2%}", f"{found.calibration_error:.3f}"]
        numbers += [f"{found.negative_log_likelihood:.3f}", f"{each.photographs_per_s:.0f}"]
        if each.agreement is not None:
            numbers += [f"{each.agreement.top1:.2%}", f"{each.agreement.max_probability_difference:.1e}"]
        rows.append([source.name, source.origin, *numbers])
    if len(measured) > 1:
        heads += ["same first class", "largest difference"]
        rows[0] += ["", ""]
    first = measured[0].evaluation
    name = f" ({measured[0].answers.source.name})" if len(measured) > 1 else ""
    parts = [f"{first.photographs:,} photographs of {len(first.classes)} classes", _aligned(heads, rows, left=2)]
    worst = first.classes[:WORST_CLASSES]
    parts += [f"worst classes{name}", _aligned(*_class_rows(worst), left=1)]
    if confusions := first.confusions()[:top_confusions]:
        rows = [[c.truth, c.predicted, str(c.photographs), f"{c.share:.1%}"] for c in confusions]
        heads = ["true class", "taken for", "photographs", "of the class"]
        parts += [f"most frequent confusions{name}", _aligned(heads, rows, left=2)]
    return "\n\n".join(parts)


def as_json(measured: Sequence[Measured], data: Path) -> str:
    """Everything that was measured, per source, as one JSON object."""
    first = measured[0].evaluation
    content = {
        "data": str(data),
        "photographs": first.photographs,
        "classes": len(first.classes),
        "sources": [_values(each) for each in measured],
    }
    return json.dumps(content, indent=2)


def write_files(directory: Path, measured: Sequence[Measured], split: Split, data: Path) -> None:
    """Write evaluation.json, per_class.csv and the pictures; the pictures show the first source."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "evaluation.json").write_text(as_json(measured, data) + "\n")
    _write_classes(directory / "per_class.csv", measured)
    first = measured[0]
    found, probabilities = first.evaluation, first.answers.probabilities
    guesses, confidences = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(guesses != first.targets)
    worst = wrong[np.argsort(-confidences[wrong], kind="stable")][:MISCLASSIFIED]
    images = [pixels_from_photograph(split.paths[index], _SIDE, _RESIZE) for index in worst]
    captions = [
        f"{found.labels[first.targets[index]]}\n"
        f"→ {shortened(found.labels[guesses[index]], 19)} {confidences[index]:.3f}"
        for index in worst
    ]
    figures = {
        "confusion": confusion_figure(found.confusion, found.labels),
        "misclassified": misclassified_figure(np.array(images, np.uint8).reshape(-1, _SIDE, _SIDE, 3), captions),
        "reliability": reliability_figure(confidences, guesses == first.targets, found.calibration_error),
    }
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.png")


def _values(each: Measured) -> dict[str, Any]:
    found = each.evaluation
    return {
        "source": each.answers.source.name,
        "from": each.answers.source.origin,
        "photographs": found.photographs,
        "top1": found.top1,
        "top5": found.top5,
        "calibration_error": found.calibration_error,
        "negative_log_likelihood": found.negative_log_likelihood,
        "seconds": each.answers.seconds,
        "photographs_per_s": each.photographs_per_s,
        "agreement": None if each.agreement is None else asdict(each.agreement),
        "classes": [asdict(score) for score in found.classes],
        "confusions": [asdict(pair) for pair in found.confusions()],
    }


def _write_classes(path: Path, measured: Sequence[Measured]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = ("label", "photographs", "top1", "precision", "confused_with", "confused_photographs")
        writer.writerow(("source", *names))
        for each in measured:
            for score in each.evaluation.classes:
                writer.writerow((each.answers.source.name, *(getattr(score, name) for name in names)))


def _class_rows(scores: Sequence[Any]) -> tuple[list[str], list[list[str]]]:
    heads = ["label", "photographs", "top-1", "precision", "most often taken for"]
    rows = []
    for score in scores:
        precision = "–" if score.precision is None else f"{score.precision:.1%}"
        taken = f"{score.confused_with} ({score.confused_photographs})" if score.confused_with else "–"
        rows.append([score.label, str(score.photographs), f"{score.top1:.1%}", precision, taken])
    return heads, rows


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Columns as wide as their widest cell; the first ``left`` and those of words to the left, numbers to the right."""
    lines = [list(heads), *([*row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    words = [column < left or heads[column].startswith("most often") for column in range(len(heads))]
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(c.ljust(w) if word else c.rjust(w) for c, w, word in zip(line, widths, words, strict=True)).rstrip()
        for line in lines
    )
