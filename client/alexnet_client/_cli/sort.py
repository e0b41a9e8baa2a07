"""Images into folders by label: ``--sort-into``. In: results. Out: ``DIR/<best label>/<file name>``.

Nothing is ever overwritten: a file that is there already and is the same stays, another one of that name gets a
number. Failed images, and those of which no prediction was kept, go nowhere. Called by: ``classify``.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from alexnet_client._errors import InvalidSetting
from alexnet_client._predictions import Prediction, Result

Link = Literal["hard", "symbolic"]
LONGEST_FOLDER_BYTES = 200  # file systems take 255
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")


@dataclass
class _Namesakes:
    """Files of one name in one folder, ``cat.jpg``, ``cat-2.jpg``, ..., so that each is looked at once and no more.

    Attributes:
        count: How many there are.
        alike: The files by their trait; only those with the image's own can be the image.
    """

    count: int
    alike: dict[object, list[str]]


class Sorter:
    """Puts each image into the folder of its best label.

    Args:
        directory: Where the folders are made.
        labels: Every label of the server, so that no two share a folder.
        link: Link instead of copying: hard (same file system) or symbolic (to the absolute path).
        dry_run: Only say what would be done, to ``say``.
        say: Takes one line.

    Attributes:
        sorted: How many images each folder got.
        already: How many were there.
        faults: Why an image could not be put there, a line each.

    Raises:
        InvalidSetting: ``directory`` cannot be made.
    """

    def __init__(
        self,
        directory: str,
        labels: Sequence[str],
        *,
        link: Link | None = None,
        dry_run: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        self._directory, self._link, self._dry_run, self._say = directory, link, dry_run, say
        self._folders = folders_from_labels(labels)
        self._planned: set[str] = set()  # of a dry run, which leaves no trace to ask for
        self._namesakes: dict[str, _Namesakes] = {}  # of names that were wanted twice
        self.sorted: Counter[str] = Counter()
        self.already = 0
        self.faults: list[str] = []
        if not dry_run:
            try:
                os.makedirs(directory, exist_ok=True)
            except OSError as error:
                raise InvalidSetting(f"{directory}: no folder can be made there ({error.strerror})") from error

    def add(self, result: Result) -> None:
        """One image, into its folder."""
        if result.error is not None or not result.predictions:
            return
        folder = os.path.join(self._directory, self._folder(result.predictions[0]))
        try:
            self._put(result.image, folder)
        except OSError as error:
            self.faults.append(f"{result.image}: not put into {folder} ({error.strerror or error})")

    def summary(self) -> str:
        """What was done, in words: ``3 copied into 2 folders of sorted, 1 was there``."""
        did = f"{'would be ' if self._dry_run else ''}{'linked' if self._link else 'copied'}"
        count, folders = sum(self.sorted.values()), len(self.sorted)
        where = (
            f"{folders} {'folder' if folders == 1 else 'folders'} of {self._directory}" if count else self._directory
        )
        parts = [f"{count or 'nothing'} {did} into {where}"]
        if self.already:
            parts.append(f"{self.already} {'was' if self.already == 1 else 'were'} there")
        return ", ".join(parts)

    def _folder(self, best: Prediction) -> str:
        label = best.label or f"class {best.index}"
        return self._folders.setdefault(label, folder_from_label(label, best.index))

    def _put(self, source: str, folder: str) -> None:
        if not os.path.isfile(source):
            raise OSError(f"{source} is no file")
        if not self._dry_run:
            os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, os.path.basename(source))
        namesakes = self._namesakes.get(path)
        if namesakes is None:
            if self._is_settled(source, path):
                return
            namesakes = self._namesakes[path] = _Namesakes(1, {self._trait(path): [path]})
        if any(self._is_settled(source, target) for target in namesakes.alike.get(self._trait(source), ())):
            return
        stem, suffix = os.path.splitext(path)
        settled = False
        while not settled:
            target = f"{stem}-{namesakes.count + 1}{suffix}"
            settled = self._is_settled(source, target)
            namesakes.count += 1
            namesakes.alike.setdefault(self._trait(target), []).append(target)

    def _is_settled(self, source: str, target: str) -> bool:
        """Whether ``target`` is the image now, or was before; not if something else has that name."""
        if self._is_there(source, target):
            self.already += 1
            return True
        if os.path.lexists(target) or target in self._planned:
            return False
        try:
            self._make(source, target)
        except FileExistsError:  # made by another process since
            return False
        self.sorted[os.path.dirname(target)] += 1
        return True

    def _trait(self, path: str) -> object:
        """What an image and its copy or link have in common; None where there is no file."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_size if self._link is None else (status.st_dev, status.st_ino)

    def _is_there(self, source: str, target: str) -> bool:
        if not os.path.isfile(target):
            return False
        if self._link is None:
            # a link to the source is no copy of it
            linked = os.path.islink(target) or os.path.samefile(source, target)
            return not linked and filecmp.cmp(source, target, shallow=False)
        return os.path.samefile(source, target)

    def _make(self, source: str, target: str) -> None:
        if self._dry_run:
            self._planned.add(target)
            self._say(f"{source} -> {target}")
        elif self._link == "hard":
            os.link(os.path.realpath(source), target)
        elif self._link == "symbolic":
            os.symlink(os.path.abspath(source), target)
        else:
            _copy(source, target)


def folders_from_labels(labels: Sequence[str]) -> dict[str, str]:
    """A folder for each label; different labels have different folders, also where case does not count."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for index, label in enumerate(labels):
        if label in folders or not label:
            continue
        folder = folder_from_label(label, index)
        if folder.casefold() in taken:
            folder = f"{folder} (class {index})"
        taken.add(folder.casefold())
        folders[label] = folder
    return folders


def folder_from_label(label: str, index: int) -> str:
    """A name for a folder, never empty and never outside: ``a/b`` becomes ``a_b``, ``..`` becomes ``__``."""
    name = _NOT_IN_NAMES.sub("_", label).strip()
    name = re.sub(r"^\.+", lambda dots: "_" * len(dots[0]), name)  # neither hidden nor the folder above
    name = name.encode("utf-8", "replace")[:LONGEST_FOLDER_BYTES].decode("utf-8", "ignore").strip()
    return name or f"class {index}"


def _copy(source: str, target: str) -> None:
    """A copy with the times of its original; whole, or none."""
    with open(source, "rb") as original, open(target, "xb") as copy:
        try:
            shutil.copyfileobj(original, copy)
            copy.flush()
            shutil.copystat(source, target)
        except BaseException:
            os.unlink(target)
            raise
