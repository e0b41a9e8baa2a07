"""The library against a real Triton Inference Server."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alexnet_client import (
    AsyncClassifier,
    Classifier,
    InvalidImage,
    ModelNotFound,
    Prediction,
    ProtocolMismatch,
    ServerStatus,
    ServerUnreachable,
)
from PIL import Image


@pytest.fixture(scope="module")
def classifier(server: Any) -> Iterator[Classifier]:
    with Classifier(server.grpc_url) as classifier:
        classifier.wait(60)
        yield classifier


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address where nobody listens, and where nobody can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="module")
def labels(server: Any) -> list[str]:
    return (server.repository / "alexnet" / "labels.txt").read_text(encoding="utf-8").splitlines()


def test_labels_are_those_of_the_repository_in_their_order(classifier: Classifier, labels: list[str]) -> None:
    assert classifier.labels() == labels


def test_predictions_come_best_first_with_the_label_of_their_index(
    classifier: Classifier, photographs: list[Path], labels: list[str]
) -> None:
    predictions = classifier.classify(photographs[0], top_k=4)
    assert len(predictions) == 4
    assert [p.label for p in predictions] == [labels[p.index] for p in predictions]
    assert [p.score for p in predictions] == sorted((p.score for p in predictions), reverse=True)


def test_probabilities_of_all_classes_add_up_to_one(
    classifier: Classifier, photographs: list[Path], labels: list[str]
) -> None:
    predictions = classifier.classify(photographs[0], top_k=10_000)
    assert sorted(p.index for p in predictions) == list(range(len(labels)))
    # each score is sent with six decimals
    assert sum(p.score for p in predictions) == pytest.approx(1.0, abs=1e-6 * len(labels))


def test_every_kind_of_input_of_the_same_pixels_gives_the_same_answer(
    classifier: Classifier, photographs: list[Path]
) -> None:
    path = photographs[0]
    with Image.open(path) as opened:
        upright = opened.convert("RGB")
    encoded = io.BytesIO()
    upright.save(encoded, "PNG")
    encoded.seek(0)
    answers = [classifier.classify(image) for image in (upright, np.asarray(upright), encoded.getvalue(), encoded)]
    assert answers[1:] == answers[:1] * 3
    assert classifier.classify(path) == classifier.classify(str(path)) == classifier.classify(path.read_bytes())


def test_status_names_the_server_and_every_composing_model(classifier: Classifier, server: Any) -> None:
    status = classifier.status()
    assert (status.url, status.name, status.serving, status.fault) == (server.grpc_url, "triton", True, None)
    assert status.version.startswith("2.")
    assert [(model.name, model.versions, model.ready) for model in status.models] == [
        ("classifier", ("1",), True),
        ("preprocess", ("1",), True),
        ("alexnet", ("1",), True),
    ]


def test_garbage_is_an_invalid_image_and_the_server_stays_ready(classifier: Classifier) -> None:
    with pytest.raises(InvalidImage) as caught:
        classifier.classify(b"this is no image at all")
    assert caught.value.status == "INVALID_ARGUMENT"
    assert "in ensemble" not in caught.value.message
    assert classifier.status().serving


def test_one_garbage_image_among_many_fails_alone(classifier: Classifier, photographs: list[Path]) -> None:
    images: list[Any] = [photographs[n % len(photographs)] for n in range(32)]
    images[13] = b"garbage"
    expected = {path: tuple(classifier.classify(path)) for path in photographs}
    results = list(classifier.classify_many(images, concurrency=32))
    assert [result.index for result in results] == list(range(32))
    assert [result.index for result in results if result.error is not None] == [13]
    assert isinstance(results[13].error, InvalidImage)
    for image, result in zip(images, results, strict=True):
        if image != b"garbage":
            assert_same(result.predictions, expected[image])


def test_unordered_results_are_all_there(classifier: Classifier, photographs: list[Path]) -> None:
    results = classifier.classify_many(photographs * 4, ordered=False, concurrency=8)
    assert sorted(result.index for result in results if not result.error) == list(range(4 * len(photographs)))


def test_one_classifier_serves_many_threads(classifier: Classifier, photographs: list[Path]) -> None:
    expected = classifier.classify(photographs[0])
    with ThreadPoolExecutor(8) as pool:
        for predictions in pool.map(classifier.classify, [photographs[0]] * 40):
            assert_same(predictions, expected)


def test_async_classifier_gives_the_same_as_the_blocking_one(
    classifier: Classifier, photographs: list[Path], server: Any
) -> None:
    async def run() -> list[Any]:
        async with AsyncClassifier(server.grpc_url) as asynchronous:
            await asynchronous.wait(60)
            many = [result async for result in asynchronous.classify_many([*photographs, b"garbage"])]
            return [await asynchronous.labels(), await asynchronous.status(), many]

    labels, status, many = asyncio.run(run())
    assert labels == classifier.labels()
    assert without_counters(status) == without_counters(classifier.status())
    assert [result.image for result in many] == [*map(str, photographs), f"image {len(photographs)}"]
    assert isinstance(many[-1].error, InvalidImage)
    for path, result in zip(photographs, many, strict=False):
        assert_same(result.predictions, classifier.classify(path))


def test_dead_address_among_several_is_left_out(
    classifier: Classifier, server: Any, photographs: list[Path], dead_url: str
) -> None:
    expected = classifier.classify(photographs[0])
    with Classifier(f"{dead_url},{server.grpc_url}") as several:
        for result in several.classify_many([photographs[0]] * 20, raise_errors=True):
            assert_same(result.predictions, expected)


def test_single_host_name_is_resolved_by_grpc(classifier: Classifier, server: Any, photographs: list[Path]) -> None:
    port = server.grpc_url.rsplit(":", 1)[1]
    for url in (f"localhost:{port}", f"dns:///localhost:{port}"):
        with Classifier(url) as by_name:
            assert_same(by_name.classify(photographs[0]), classifier.classify(photographs[0]))


def test_wait_for_nobody_ends_at_its_timeout(dead_url: str) -> None:
    started_s = time.monotonic()
    with Classifier(dead_url) as nobody, pytest.raises(Exception, match="within 1 s") as caught:
        nobody.wait(1)
    assert type(caught.value).__name__ == "DeadlineExceeded"
    assert 0.9 < time.monotonic() - started_s < 3


def test_unreachable_server_is_named(dead_url: str) -> None:
    with Classifier(dead_url, retries=1) as nobody, pytest.raises(ServerUnreachable, match=dead_url):
        nobody.classify(b"image")


def test_unknown_model_and_version_are_not_found(server: Any) -> None:
    for settings in ({"model": "unknown"}, {"model_version": "77"}):
        with Classifier(server.grpc_url, **settings) as classifier, pytest.raises(ModelNotFound):
            classifier.classify(b"image")


def test_composing_model_is_refused_as_no_classifier(server: Any) -> None:
    with (
        Classifier(server.grpc_url, model="alexnet") as classifier,
        pytest.raises(ProtocolMismatch, match="its inputs are PIXELS UINT8"),
    ):
        classifier.classify(b"image")


def without_counters(status: ServerStatus) -> ServerStatus:
    """What does not change with every image."""
    models = tuple(dataclasses.replace(model, work=None) for model in status.models)
    return dataclasses.replace(status, models=models)


def assert_same(predictions: Any, expected: Any) -> None:
    """The same class; scores may differ in the last digits with the size of the batch they came from."""
    assert predictions[0].index == expected[0].index
    assert [p.score for p in predictions] == pytest.approx([p.score for p in expected], abs=1e-4)
    assert all(isinstance(p, Prediction) for p in predictions)
