"""Which predictions are kept: ``--min-score`` and ``--only-label``.

In: a result, and the server's labels. Out: the same result with the predictions that pass. Called by: ``classify``.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from alexnet_client._errors import InvalidSetting
from alexnet_client._predictions import Result


@dataclasses.dataclass(frozen=True)
class Filter:
    """What a prediction has to be.

    Attributes:
        min_score: At least so probable, in [0, 1].
        labels: One of these; None for any.
    """

    min_score: float = 0.0
    labels: frozenset[str] | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether every prediction passes."""
        return self.min_score <= 0.0 and self.labels is None

    def kept(self, result: Result) -> Result:
        """``result`` with the predictions that pass, still best first."""
        if self.keeps_all or result.error is not None:
            return result
        kept = tuple(
            prediction
            for prediction in result.predictions
            if prediction.score >= self.min_score and (self.labels is None or prediction.label in self.labels)
        )
        return dataclasses.replace(result, predictions=kept)


def labels_from_patterns(patterns: Iterable[str], labels: Sequence[str]) -> frozenset[str]:
    """The labels that ``patterns`` mean.

    Letters count the same in either case, and ``_`` the same as a space. A pattern that is a label means that
    one; otherwise ``*``, ``?`` and ``[...]`` stand for what they stand for in a shell.

    Raises:
        InvalidSetting: One means no label; the message names the nearest.
    """
    folded: dict[str, set[str]] = {}
    for label in labels:
        folded.setdefault(_folded(label), set()).add(label)
    found: set[str] = set()
    for pattern in patterns:
        matching = [pattern_ for pattern_ in folded if pattern_ == _folded(pattern)]
        matching = matching or fnmatch.filter(folded, _folded(pattern))
        if not matching:
            raise InvalidSetting(_no_such_label(pattern, folded), hint="See them all with: alexnet-client labels")
        found.update(label for name in matching for label in folded[name])
    return frozenset(found)


def _folded(label: str) -> str:
    return label.casefold().replace("_", " ").strip()


def _no_such_label(pattern: str, folded: dict[str, set[str]]) -> str:
    wanted = _folded(pattern)
    near = [name for name in folded if wanted and wanted in name]
    near += [name for name in difflib.get_close_matches(wanted, folded, n=5, cutoff=0.6) if name not in near]
    names = [label for name in near[:5] for label in sorted(folded[name])]
    message = f"the server has no label {pattern!r}"
    return f"{message}; did you mean {', '.join(map(repr, names))}?" if names else message
