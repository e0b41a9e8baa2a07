"""Embeddings from a real Triton Inference Server: those that torch computes, next to the same probabilities."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alexnet_build.embeddings import torch_embeddings
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.weights import load_weights
from alexnet_client import Classifier, ProtocolMismatch
from alexnet_server import running_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def embedding_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("embeddings") / "models"
    command = ["repository", "--weights", "demo", "--engine", "onnxruntime", "--precision", "fp32", "--embeddings"]
    command += ["--output", str(folder)]
    built = subprocess.run([sys.executable, "-m", "alexnet_build", *command], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "embeddings of 4096 features" in built.stderr
    with running_server(folder) as running:
        yield running


def test_embeddings_are_those_of_torch_and_predictions_stay_what_they_are(
    embedding_server: Any, server: Any, photographs: list[Path]
) -> None:
    trained = load_weights("demo")
    size, short_side = trained.spec.image_size, trained.spec.resize_short_side
    pixels = np.stack([pixels_from_photograph(path, size, short_side) for path in photographs])
    expected = torch_embeddings(trained, pixels)
    with Classifier(embedding_server.grpc_url) as embedder, Classifier(server.grpc_url) as classifier:
        results = list(embedder.embeddings_many([*photographs, b"no image"]))
        assert [result.error is None for result in results] == [True] * len(photographs) + [False]
        for result, reference in zip(results, expected, strict=False):
            assert result.embedding is not None
            assert result.embedding.shape == (4096,)
            assert np.linalg.norm(result.embedding - reference) < 1e-4 * np.linalg.norm(reference)
        for path in photographs:
            assert embedder.classify(path) == classifier.classify(path)


def test_plain_repository_is_refused_with_the_rebuild_command(server: Any, photographs: list[Path]) -> None:
    with Classifier(server.grpc_url) as classifier, pytest.raises(ProtocolMismatch, match="alexnet-build repository"):
        classifier.embeddings(photographs[0])
