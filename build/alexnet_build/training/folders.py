"""Finds the labelled photographs of a data folder in ``ImageFolder`` layout.

In: ``DIR/train/<label>/<photograph>`` with ``val/`` and ``test/`` beside ``train/``, or ``DIR/<label>/<photograph>``.
Out: ``Split``s. ``val`` may steer a run (early stopping, the best checkpoint); ``test`` is only ever reported.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_build.errors import DataError

PHOTOGRAPH_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True)
class Split:
    """Photographs and the index of each one's class.

    Attributes:
        paths: M files.
        targets: M indices into ``labels``.
        labels: C class names, sorted.
    """

    paths: tuple[Path, ...]
    targets: tuple[int, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class DataFolder:
    """The splits of one data folder; ``val`` and ``test`` may be missing."""

    train: Split
    val: Split | None
    test: Split | None


def data_folder_from_path(directory: Path, *, val_fraction: float = 0.0, seed: int = 0) -> DataFolder:
    """List the photographs of a data folder.

    Args:
        directory: A folder with ``train/`` (and ``val/``, ``test/``), or with one folder a class.
        val_fraction: Share of each class's training photographs that is held out for validation, 0 to 0.9.
            Refused where the folder has a ``val/`` of its own.
        seed: Of the choice of the photographs held out.

    Raises:
        DataError: The folder is missing or empty, a class is empty, or a split has a class that train lacks.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; --data takes one with train/<label>/<photograph> in it")
    has_splits = (directory / "train").is_dir()
    train = _split_from_path(directory / "train" if has_splits else directory)
    val = _optional_split(directory / "val", train.labels) if has_splits else None
    test = _optional_split(directory / "test", train.labels) if has_splits else None
    if val_fraction:
        if val is not None:
            raise DataError(f"{directory} has a val/ of its own: leave out --val-fraction, or move val/ away")
        train, val = _held_out(train, val_fraction, seed)
    return DataFolder(train=train, val=val, test=test)


def _split_from_path(directory: Path, labels: Sequence[str] | None = None) -> Split:
    found = sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and entry.name[0] != ".")
    labels = tuple(labels or found)
    if not found:
        raise DataError(f"{directory} has no folders; expected one folder of photographs for each class")
    if unknown := sorted(set(found) - set(labels)):
        raise DataError(
            f"{directory} has classes that the training photographs lack: {', '.join(unknown)}; "
            "add photographs of them to train/ or take these folders away"
        )
    paths: list[Path] = []
    targets: list[int] = []
    for name in found:
        photographs = sorted(p for p in (directory / name).rglob("*") if p.suffix.lower() in PHOTOGRAPH_SUFFIXES)
        if not photographs:
            raise DataError(f"{directory / name} has no photographs; fill the folder or take it away")
        paths += photographs
        targets += [labels.index(name)] * len(photographs)
    return Split(tuple(paths), tuple(targets), labels)


def _optional_split(directory: Path, labels: Sequence[str]) -> Split | None:
    return _split_from_path(directory, labels) if directory.is_dir() else None


def _held_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Part a split in two, class by class, so that every class is in both."""
    chooser = random.Random(seed)
    held: set[int] = set()
    for label in range(len(split.labels)):
        members = [index for index, target in enumerate(split.targets) if target == label]
        if len(members) < 2:
            raise DataError(f"class {split.labels[label]!r} has one photograph; none can be held out of it")
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.update(chooser.sample(members, count))
    kept = [index for index in range(len(split)) if index not in held]
    return _subset(split, kept), _subset(split, sorted(held))


def _subset(split: Split, indices: Sequence[int]) -> Split:
    return Split(tuple(split.paths[i] for i in indices), tuple(split.targets[i] for i in indices), split.labels)
