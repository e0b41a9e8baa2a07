"""Requests through the whole ensemble of a real server: many at once, many images in one, bad ones too."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image
from tritonclient.utils import InferenceServerException

DEADLINE_S = 30


@pytest.fixture
def client(server: Any) -> grpcclient.InferenceServerClient:
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield client


def classify(client: grpcclient.InferenceServerClient, images: list[bytes], class_count: int = 3) -> np.ndarray:
    """Return what the classification extension answers: (N, class_count) of b"value:index:label"."""
    image = grpcclient.InferInput("IMAGE", [len(images), 1], "BYTES")
    image.set_data_from_numpy(np.array(images, dtype=object).reshape(-1, 1))
    wanted = grpcclient.InferRequestedOutput("PROBABILITIES", class_count=class_count)
    answer = client.infer("classifier", [image], outputs=[wanted], client_timeout=DEADLINE_S)
    return answer.as_numpy("PROBABILITIES")


def encode(image: Image.Image, image_format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def test_request_gets_an_answer_for_every_photograph_of_different_sizes_and_formats(
    client: grpcclient.InferenceServerClient, photographs: list[Path]
) -> None:
    with Image.open(photographs[0]) as photograph:
        versions = [photograph.convert("RGB").resize(size) for size in ((300, 500), (640, 480), (1024, 300), (90, 90))]
    images = [encode(v, f) for v, f in zip(versions, ("PNG", "WEBP", "BMP", "TIFF"), strict=True)]
    images += [encode(versions[0].convert("P"), "GIF"), *(path.read_bytes() for path in photographs)]

    answers = classify(client, images)

    assert answers.shape == (len(images), 3)
    alone = [classify(client, [image])[0] for image in images]
    for in_batch, by_itself in zip(answers, alone, strict=True):
        assert label(in_batch[0]) == label(by_itself[0])
        assert score(in_batch[0]) == pytest.approx(score(by_itself[0]), abs=1e-4)


def test_scores_descend_and_carry_labels_for_each_class_asked_for(
    client: grpcclient.InferenceServerClient, photographs: list[Path], server: Any
) -> None:
    labels = (server.repository / "alexnet" / "labels.txt").read_text().splitlines()

    (answer,) = classify(client, [photographs[0].read_bytes()], class_count=5)

    scores = [score(entry) for entry in answer]
    assert scores == sorted(scores, reverse=True)
    for entry in answer:
        _, index, name = entry.decode().split(":", 2)
        assert labels[int(index)] == name


def test_bad_image_fails_alone_among_32_requests_at_once(
    client: grpcclient.InferenceServerClient, photographs: list[Path], server: Any
) -> None:
    requests = [photographs[number % len(photographs)].read_bytes() for number in range(32)]
    requests[17] = b"this is no photograph"

    def answer(image: bytes) -> np.ndarray | InferenceServerException:
        try:
            return classify(client, [image])
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(32) as executor:
        answers = list(executor.map(answer, requests))

    errors = {n: found for n, found in enumerate(answers) if isinstance(found, InferenceServerException)}
    assert list(errors) == [17]
    assert errors[17].status() == "StatusCode.INVALID_ARGUMENT"
    assert "not an image in a known format" in errors[17].message()
    assert "b'this is '" in errors[17].message()
    server.check()
    assert client.is_model_ready("classifier")
    assert all(found.shape == (1, 3) for n, found in enumerate(answers) if n != 17)


def test_bad_images_are_named_by_position_in_a_request_of_several(
    client: grpcclient.InferenceServerClient, photographs: list[Path]
) -> None:
    photograph = photographs[0].read_bytes()

    with pytest.raises(InferenceServerException) as caught:
        classify(client, [photograph, b"", photograph, photograph[: len(photograph) // 2]])

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "image 1 of 4: the image is empty: 0 bytes" in caught.value.message()
    assert "image 3 of 4: the JPEG image is damaged or truncated" in caught.value.message()
    assert "image 0" not in caught.value.message()
    assert "image 2" not in caught.value.message()


@pytest.mark.parametrize("image", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, b"GIF89a"])
def test_broken_image_is_an_invalid_argument_and_the_server_stays_ready(
    client: grpcclient.InferenceServerClient, server: Any, image: bytes
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        classify(client, [image])

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    server.check()


def test_request_beyond_the_batch_limit_is_refused_with_both_numbers(
    client: grpcclient.InferenceServerClient, photographs: list[Path]
) -> None:
    limit = client.get_model_config("classifier", as_json=True)["config"]["max_batch_size"]

    with pytest.raises(InferenceServerException, match=str(limit)):
        classify(client, [photographs[0].read_bytes()] * (limit + 1))


def label(entry: bytes) -> str:
    return entry.decode().split(":", 2)[2]


def score(entry: bytes) -> float:
    return float(entry.decode().split(":", 1)[0])
