from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from alexnet_client import (
    AsyncClassifier,
    Classifier,
    InvalidImage,
    InvalidSetting,
    Prediction,
    ProtocolMismatch,
)
from alexnet_client import _calls as calls

PREDICTIONS = [Prediction("crane: bird", 2, 0.7), Prediction("tench", 0, 0.2), Prediction("", 1, 0.1)]


def test_classify_gives_the_best_first(transport: Any) -> None:
    assert Classifier(transport=transport).classify(b"image", top_k=2) == PREDICTIONS[:2]
    assert transport.sent[-1] == calls.Infer("classifier", "", b"image", 2)


def test_classify_gives_all_classes_when_there_are_fewer_than_asked_for(transport: Any) -> None:
    assert Classifier(transport=transport).classify(b"image", top_k=50) == PREDICTIONS
    assert transport.sent[-1].class_count == 3


def test_metadata_is_read_once(transport: Any) -> None:
    classifier = Classifier(transport=transport)
    classifier.classify(b"image")
    classifier.classify(b"image")
    assert [type(call) for call in transport.sent] == [calls.ReadMetadata, calls.Infer, calls.Infer]


def test_metadata_is_read_again_after_the_model_has_changed(transport: Any) -> None:
    transport.fail(calls.Infer, ProtocolMismatch("unexpected inference input"))
    classifier = Classifier(transport=transport)
    with pytest.raises(ProtocolMismatch):
        classifier.classify(b"image")
    classifier.classify(b"image")
    assert sum(isinstance(call, calls.ReadMetadata) for call in transport.sent) == 2


def test_model_and_version_reach_the_server(transport: Any) -> None:
    Classifier(transport=transport, model="mine", model_version="4").classify(b"image", 1)
    assert transport.sent == [calls.ReadMetadata("mine", "4"), calls.Infer("mine", "4", b"image", 1)]


def test_unreadable_image_costs_no_call(transport: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidImage):
        Classifier(transport=transport).classify(tmp_path / "none.jpg")
    assert transport.sent == []


def test_labels_come_in_the_order_of_their_index(transport: Any) -> None:
    assert Classifier(transport=transport).labels() == ["tench", "", "crane: bird"]


def test_labels_with_a_class_missing_are_a_mismatch(transport: Any) -> None:
    transport.on[calls.Infer] = lambda call: [b"0.7:2:c", b"0.3:0:a"]
    with pytest.raises(ProtocolMismatch, match="not those of 3 classes, each once"):
        Classifier(transport=transport).labels()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"platform": "onnxruntime_onnx"}, "its platform is onnxruntime_onnx, not ensemble"),
        ({"inputs": ()}, "its inputs are none"),
        (
            {"inputs": (calls.TensorMetadata("PIXELS", "UINT8", (-1, 224, 224, 3)),)},
            "its inputs are PIXELS UINT8 [N, 224, 224, 3]",
        ),
        (
            {"outputs": (calls.TensorMetadata("LOGITS", "FP32", (-1, 3)),)},
            "its outputs are LOGITS FP32 [N, 3]",
        ),
        (
            {"outputs": (calls.TensorMetadata("PROBABILITIES", "FP16", (-1, 3)),)},
            "its outputs are PROBABILITIES FP16 [N, 3]",
        ),
    ],
)
def test_model_of_another_kind_is_refused_with_both_sides(transport: Any, change: dict, words: str) -> None:
    metadata = dataclasses.replace(transport.on[calls.ReadMetadata](None), **change)
    transport.on[calls.ReadMetadata] = lambda call: metadata
    with pytest.raises(ProtocolMismatch) as caught:
        Classifier("host:1", transport=transport).classify(b"image")
    assert words in caught.value.message
    assert "expected an ensemble with the input IMAGE BYTES [N, 1]" in caught.value.message
    assert not any(isinstance(call, calls.Infer) for call in transport.sent)


def test_further_outputs_are_allowed(transport: Any) -> None:
    metadata = transport.on[calls.ReadMetadata](None)
    more = dataclasses.replace(
        metadata, outputs=(calls.TensorMetadata("EMBEDDING", "FP32", (-1, 4096)), *metadata.outputs)
    )
    transport.on[calls.ReadMetadata] = lambda call: more
    assert Classifier(transport=transport).classify(b"image") == PREDICTIONS


@pytest.mark.parametrize(
    "settings",
    [
        {"deadline_s": 0},
        {"deadline_s": -1},
        {"deadline_s": float("nan")},
        {"deadline_s": float("inf")},
        {"deadline_s": "5"},
        {"retries": -1},
        {"retries": 1.5},
        {"model": ""},
        {"model_version": "newest"},
    ],
)
def test_setting_that_cannot_be_meant_is_refused(transport: Any, settings: dict) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(settings))):
        Classifier(transport=transport, **settings)


@pytest.mark.parametrize("arguments", [{"top_k": 0}, {"top_k": True}, {"concurrency": 0}, {"deadline_s": 0}])
def test_argument_that_cannot_be_meant_is_refused_before_the_first_image(transport: Any, arguments: dict) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(arguments))):
        Classifier(transport=transport).classify_many([b"image"], **arguments)


def test_context_manager_closes_the_transport(transport: Any) -> None:
    with Classifier(transport=transport):
        assert not transport.closed
    assert transport.closed


def test_async_classifier_gives_the_same_from_the_same_calls(transport: Any, async_transport: Any) -> None:
    blocking = Classifier(transport=transport)
    expected = [blocking.classify(b"image", 2), blocking.labels(), blocking.status(), blocking.wait(5)]

    async def run() -> list:
        async with AsyncClassifier(transport=async_transport) as classifier:
            return [
                await classifier.classify(b"image", 2),
                await classifier.labels(),
                await classifier.status(),
                await classifier.wait(5),  # type: ignore[func-returns-value]
            ]

    assert asyncio.run(run()) == expected
    assert async_transport.sent == transport.sent
    assert async_transport.closed
