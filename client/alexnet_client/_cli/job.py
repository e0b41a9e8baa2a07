"""What ``classify`` was asked for, in one piece, checked for contradictions. In: options. Out: a ``Job``."""

from __future__ import annotations

import os
from dataclasses import dataclass

from alexnet_client._config import DEFAULT_CONCURRENCY, DEFAULT_DEADLINE_S, DEFAULT_TOP_K
from alexnet_client._errors import InvalidSetting

from .files import is_regular, refuse_to_overwrite
from .path_lists import STDIN
from .resume import RESUMABLE, has_results
from .sort import Link


@dataclass(frozen=True)
class Job:
    """One run of ``classify``.

    Attributes:
        arguments: Files, directories, patterns, ``-`` for the bytes of an image.
        lists: Files of paths; ``-`` for one on stdin.
        null: The paths in lists end with NUL.
        top_k: Labels asked for.
        min_score: Predictions below are left out.
        only_label: So are those of other labels, if any are given; patterns.
        format: table, jsonl, json, csv or parquet.
        output: The file; None for stdout.
        overwrite: Whether files that are there may be replaced.
        resume: Whether the file is continued.
        sort_into: Where images are put into folders by label.
        link: Links instead of copies.
        dry_run: Say what would be put where, and do nothing.
        contact_sheet: The page for the eye.
        shrink: Large images are made smaller before they are sent.
        allow_urls: Web addresses among the paths are downloaded.
        concurrency: Images under way at once.
        deadline_s: Seconds for each.

    Raises:
        InvalidSetting: Two of them contradict each other.
    """

    arguments: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    null: bool = False
    top_k: int = DEFAULT_TOP_K
    min_score: float = 0.0
    only_label: tuple[str, ...] = ()
    format: str = "table"
    output: str | None = None
    overwrite: bool = False
    resume: bool = False
    sort_into: str | None = None
    link: Link | None = None
    dry_run: bool = False
    contact_sheet: str | None = None
    shrink: bool = False
    allow_urls: bool = False
    concurrency: int = DEFAULT_CONCURRENCY
    deadline_s: float = DEFAULT_DEADLINE_S

    def __post_init__(self) -> None:
        if not self.arguments and not self.lists:
            raise InvalidSetting(
                "no image is named", hint="Name files, directories or patterns, or a list of them with --from-file LIST"
            )
        if self.null and not self.lists:
            raise InvalidSetting("--null is about lists, and none is named", hint="Name one with: --from-file LIST")
        if not self.sort_into and (self.link or self.dry_run):
            given = "--link" if self.link else "--dry-run"
            raise InvalidSetting(f"{given} is about sorting", hint="Name the directory with: --sort-into DIR")
        if self.sort_into and STDIN in self.arguments:
            raise InvalidSetting(
                "an image from stdin has no name to sort it by", hint="Name it, or leave out --sort-into"
            )
        self._check_files()

    @property
    def resumable(self) -> bool:
        """Whether a later run can continue what this one writes."""
        return self.output is not None and self.format in RESUMABLE and is_regular(self.output)

    def _check_files(self) -> None:
        if self.resume:
            if not self.resumable:
                raise InvalidSetting(
                    "--resume needs a file of JSON Lines or CSV", hint="Name it with: --output predictions.jsonl"
                )
            if self.overwrite:
                raise InvalidSetting("--resume and --overwrite contradict each other", hint="Leave one of them out")
            if STDIN in self.arguments:
                raise InvalidSetting("which image came from stdin is not known to --resume", hint="Name it instead")
        if self.output and self.contact_sheet and os.path.realpath(self.output) == os.path.realpath(self.contact_sheet):
            raise InvalidSetting(f"{self.output} cannot be both the results and the contact sheet")
        if self.output is not None and not self.resume:
            otherwise = "--resume continues it, " if self.resumable else ""
            refuse_to_overwrite(self.output, self.overwrite, otherwise)
        if self.contact_sheet is not None:
            # the page of a run that is continued is made anew; where nothing is continued, it is another's
            continued = self.resume and self.output is not None and has_results(self.output)
            refuse_to_overwrite(self.contact_sheet, self.overwrite or continued)
