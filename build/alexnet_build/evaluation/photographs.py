"""The photographs to evaluate on, and the class that each of them has in a network.

In: a data folder in ``ImageFolder`` layout. Out: a ``training.folders.Split``, and its targets among the labels of a
network. Called by ``alexnet-build evaluate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_build.errors import DataError
from alexnet_build.training.folders import PHOTOGRAPH_SUFFIXES, Split

#: Folders that are no classes, in the order in which they are looked for: numbers to report come from test.
_SPLITS = ("test", "val")


def split_directory(directory: Path, name: str | None = None) -> Path:
    """The folder whose subfolders are the classes.

    Args:
        directory: A folder with ``test/<label>/<photograph>`` or ``<label>/<photograph>`` in it.
        name: ``test``, ``val`` or ``train``; None for ``test`` if there is one, else ``val``, else the folder itself.

    Raises:
        DataError: The folder or the split is missing, or there are training photographs alone and no name.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder; --data takes one with test/<label>/<photograph> in it")
    if name is not None:
        if not _is_split(directory / name):
            raise DataError(
                f"{directory} has no split {name}: expected {directory / name}/<label>/<photograph>; "
                "leave out --split to evaluate on <label>/<photograph>"
            )
        return directory / name
    for split in _SPLITS:
        if _is_split(directory / split):
            return directory / split
    if _is_split(directory / "train"):
        raise DataError(
            f"{directory} has neither test/ nor val/; to evaluate on what the network was trained on, "
            "which flatters it, give --split train"
        )
    return directory


def labelled_photographs(directory: Path) -> Split:
    """List the photographs of one split, ``directory/<label>/<photograph>``, by class and name.

    Raises:
        DataError: There are no classes, or classes without photographs, all of them named.
    """
    labels = _folders(directory)
    if not labels:
        raise DataError(f"{directory} has no folders; expected one folder of photographs for each class")
    paths: list[Path] = []
    targets: list[int] = []
    empty: list[str] = []
    for index, label in enumerate(labels):
        found = sorted(p for p in (directory / label).rglob("*") if p.suffix.lower() in PHOTOGRAPH_SUFFIXES)
        paths += found
        targets += [index] * len(found)
        if not found:
            empty.append(label)
    if empty:
        raise DataError(f"{directory} has folders without photographs: {', '.join(empty)}; fill them or take them away")
    return Split(tuple(paths), tuple(targets), labels)


def network_targets(split: Split, labels: Sequence[str], network: str) -> np.ndarray:
    """The index of each photograph's class among a network's labels; classes are matched by name.

    Args:
        split: M photographs; its classes may be some of the network's.
        labels: C names in the order of the network's outputs.
        network: What the network is called in messages.

    Returns:
        (M,) int64, 0 to C - 1.

    Raises:
        DataError: The network does not have a class of this name, or has several.
    """
    places: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(label, []).append(index)
    if unknown := [label for label in split.labels if label not in places]:
        raise DataError(
            f"{network} does not know {len(unknown)} of the data's {len(split.labels)} classes: {_listed(unknown)}; "
            f"it knows {len(labels)}: {_listed(labels)}. Rename the folders to the network's labels, take them away, "
            "or evaluate a network that was trained on them"
        )
    if ambiguous := [label for label in split.labels if len(places[label]) > 1]:
        raise DataError(
            f"{network} has several classes with the same name: {_listed(ambiguous)}; which of them the data's "
            "folders mean cannot be told. Take these folders away, or give the network distinct labels"
        )
    index_of_class = np.array([places[label][0] for label in split.labels], np.int64)
    return index_of_class[np.array(split.targets, np.int64)]


def _is_split(directory: Path) -> bool:
    """A split has folders in it; a class that happens to be called ``test`` has photographs."""
    return directory.is_dir() and bool(_folders(directory))


def _folders(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
