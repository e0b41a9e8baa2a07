"""Embeddings: asked for by name, checked for their width, refused where the repository has none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from alexnet_client import AsyncClassifier, Classifier, EmbeddingResult, InvalidImage, ProtocolMismatch
from alexnet_client import _calls as calls
from alexnet_client._flows import TEST_IMAGE
from alexnet_client._triton import CODECS, infer_request
from tritonclient.grpc import service_pb2 as pb

EMBEDDING = np.array([0.0, 1.5, -2.25], np.float32)


def embedding_server(transport, width: int = 3):  # type: ignore[no-untyped-def]
    """`transport`, which serves a repository with embeddings."""
    metadata = transport.on[calls.ReadMetadata](None)
    outputs = (*metadata.outputs, calls.TensorMetadata("EMBEDDINGS", "FP32", (-1, width)))
    transport.on[calls.ReadMetadata] = lambda call: replace(metadata, outputs=outputs)
    transport.on[calls.Embed] = lambda call: EMBEDDING.tobytes()
    return transport


def test_embedding_is_an_array_of_its_own(transport) -> None:  # type: ignore[no-untyped-def]
    embedding = Classifier(transport=embedding_server(transport)).embeddings(TEST_IMAGE)
    assert embedding.dtype == np.float32
    assert embedding.tolist() == [0.0, 1.5, -2.25]
    embedding[0] = 7  # it may be normalised in place
    assert transport.sent[-1] == calls.Embed("classifier", "", TEST_IMAGE)


def test_repository_without_embeddings_is_named_with_the_command_that_builds_one(transport) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProtocolMismatch) as caught:
        Classifier("server:8001", transport=transport).embeddings(TEST_IMAGE)
    assert caught.value.message == "the model 'classifier' at server:8001 gives no embeddings"
    assert "alexnet-build repository --engine onnxruntime --embeddings --output DIR" in caught.value.hint
    assert [type(call) for call in transport.sent] == [calls.ReadMetadata]


def test_client_sees_embeddings_that_a_later_repository_has(transport) -> None:  # type: ignore[no-untyped-def]
    classifier = Classifier(transport=transport)
    with pytest.raises(ProtocolMismatch):
        classifier.embeddings(TEST_IMAGE)
    embedding_server(transport)
    assert classifier.embeddings(TEST_IMAGE).tolist() == EMBEDDING.tolist()


def test_answer_of_another_width_is_a_mismatch(transport) -> None:  # type: ignore[no-untyped-def]
    classifier = Classifier(transport=embedding_server(transport, width=4))
    with pytest.raises(ProtocolMismatch, match="answered 12 bytes where 4 numbers of 4 were expected"):
        classifier.embeddings(TEST_IMAGE)


def check_many(results: list[EmbeddingResult]) -> None:
    assert [(result.image, result.index) for result in results] == [("image 0", 0), ("/no/such.jpg", 1), ("image 2", 2)]
    assert [result.error is None for result in results] == [True, False, True]
    assert results[1].embedding is None
    assert isinstance(results[1].error, InvalidImage)
    assert results[2].embedding is not None
    assert results[2].embedding.tolist() == EMBEDDING.tolist()


def test_failed_image_of_many_is_a_result(transport, async_transport) -> None:  # type: ignore[no-untyped-def]
    images = [TEST_IMAGE, "/no/such.jpg", TEST_IMAGE]
    check_many(list(Classifier(transport=embedding_server(transport)).embeddings_many(images)))

    async def results() -> list[EmbeddingResult]:
        classifier = AsyncClassifier(transport=embedding_server(async_transport))
        return [result async for result in classifier.embeddings_many(images)]

    check_many(asyncio.run(results()))


def test_request_asks_for_the_embedding_alone() -> None:
    request = pb.ModelInferRequest.FromString(infer_request(calls.Embed("classifier", "2", b"image"), 1.5))
    assert (request.model_name, request.model_version) == ("classifier", "2")
    assert [(output.name, dict(output.parameters)) for output in request.outputs] == [("EMBEDDINGS", {})]
    assert request.raw_input_contents == [b"\x05\0\0\0image"]
    reply = pb.ModelInferResponse(raw_output_contents=[EMBEDDING.tobytes()])
    assert CODECS[calls.Embed].value_from(reply) == EMBEDDING.tobytes()
