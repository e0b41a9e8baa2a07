from __future__ import annotations

import dataclasses

import pytest
from alexnet_client import Prediction, ProtocolMismatch
from alexnet_client._predictions import predictions_from_elements


@pytest.mark.parametrize(
    ("element", "prediction"),
    [
        (b"0.327228:4:finch", Prediction("finch", 4, 0.327228)),
        (b"0.2:2:crane, bird", Prediction("crane, bird", 2, 0.2)),
        (b"0.1:1:great: white: shark", Prediction("great: white: shark", 1, 0.1)),
        (b"0.263614:3", Prediction("", 3, 0.263614)),
        (b"0.5:7:", Prediction("", 7, 0.5)),
        ("1.0:0:Müller\N{EN DASH}crab".encode(), Prediction("Müller\N{EN DASH}crab", 0, 1.0)),
        (b"0.5:1:\xff", Prediction("\N{REPLACEMENT CHARACTER}", 1, 0.5)),
    ],
)
def test_element_becomes_a_prediction(element: bytes, prediction: Prediction) -> None:
    assert predictions_from_elements([element]) == [prediction]


def test_order_of_the_server_is_kept() -> None:
    predictions = predictions_from_elements([b"0.6:5:a", b"0.4:1:b"])
    assert [p.index for p in predictions] == [5, 1]


@pytest.mark.parametrize("element", [b"", b"0.5", b"x:1:label", b"0.5:one:label"])
def test_element_of_another_form_is_a_mismatch(element: bytes) -> None:
    with pytest.raises(ProtocolMismatch, match="value:index:label was expected"):
        predictions_from_elements([element])


def test_prediction_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prediction("a", 0, 1.0).score = 0.5  # type: ignore[misc]
