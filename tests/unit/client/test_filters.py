from __future__ import annotations

import dataclasses

import pytest
from alexnet_client import InvalidImage, InvalidSetting, Prediction, Result
from alexnet_client._cli.filters import Filter, labels_from_patterns

LABELS = ["tench", "Norwich terrier", "Yorkshire_terrier", "crane", "crane", "a[b]", ""]
CAT = Result("cat.jpg", 0, (Prediction("tabby", 1, 0.7), Prediction("lynx", 2, 0.2), Prediction("", 3, 0.1)), None, 0.1)


@pytest.mark.parametrize(
    ("keep", "indices"),
    [
        (Filter(), [1, 2, 3]),
        (Filter(0.2), [1, 2]),
        (Filter(0.71), []),
        (Filter(labels=frozenset({"lynx"})), [2]),
        (Filter(0.3, frozenset({"lynx"})), []),
    ],
)
def test_predictions_that_pass_are_kept_in_their_order(keep: Filter, indices: list[int]) -> None:
    kept = keep.kept(CAT)
    assert [prediction.index for prediction in kept.predictions] == indices
    assert dataclasses.replace(kept, predictions=CAT.predictions) == CAT


def test_failed_image_stays_as_it_is() -> None:
    failed = Result("bad.jpg", 0, (), InvalidImage("no"), 0.1)
    assert Filter(1.0, frozenset()).kept(failed) is failed


@pytest.mark.parametrize(
    ("patterns", "labels"),
    [
        (["TENCH"], {"tench"}),
        (["norwich_terrier"], {"Norwich terrier"}),
        (["*terrier"], {"Norwich terrier", "Yorkshire_terrier"}),
        (["crane", "t?nch"], {"crane", "tench"}),
        (["a[b]"], {"a[b]"}),
    ],
)
def test_labels_are_found_whatever_their_case_and_by_patterns(patterns: list[str], labels: set[str]) -> None:
    assert labels_from_patterns(patterns, LABELS) == labels


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("tensh", "the server has no label 'tensh'; did you mean 'tench'?"),
        ("terrier", "the server has no label 'terrier'; did you mean 'Norwich terrier', 'Yorkshire_terrier'?"),
        ("zzz*", "the server has no label 'zzz*'"),
    ],
)
def test_unknown_label_is_refused_with_the_nearest(pattern: str, message: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        labels_from_patterns(["tench", pattern], LABELS)
    assert caught.value.message == message
    assert caught.value.hint == "See them all with: alexnet-client labels"
