"""The second output: the classifier's input, in the graph, in the configs, in the manifest, and nowhere by default."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from alexnet_build.configs import ServingSpec, config_texts
from alexnet_build.embeddings import (
    EmbeddingParity,
    add_embeddings,
    compared_embeddings,
    torch_embeddings,
    verified_embeddings,
)
from alexnet_build.engine import Engine
from alexnet_build.errors import EngineError, ParityError, PublishError
from alexnet_build.network import ServingGraph
from alexnet_build.repository import publish
from alexnet_build.verify import Parity, Views, onnxruntime_infer
from alexnet_build.weights import TrainedNetwork
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

PARITY = EmbeddingParity(4096, 115, 1.0, 1.0, 1e-6, 1e-7)
ENGINE = Engine("onnxruntime", b"an engine", "1.31.1", None, "fp32", 16, "0" * 64, Parity(115, 1.0, 1.0, 1e-6, 1e-8))


@pytest.fixture(scope="module")
def few(views: Views) -> Views:
    return Views(views.pixels[:6], views.names[:6], views.targets[:6])


@pytest.fixture
def embedding_file(onnx_files: dict[str, Path], tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    shutil.copy(onnx_files["fp32"], path)
    add_embeddings(path, 4096)
    return path


def test_embedding_is_what_the_last_layer_is_given(trained: TrainedNetwork, few: Views) -> None:
    embeddings = torch_embeddings(trained, few.pixels)
    assert embeddings.shape == (6, 4096)
    assert embeddings.min() == 0.0  # after the ReLU
    graph = ServingGraph(trained.network, trained.spec).eval()
    with torch.inference_mode():
        expected = graph(torch.from_numpy(few.pixels)).numpy()
        logits = trained.network.fc8(torch.from_numpy(embeddings))  # type: ignore[operator]
        assert np.abs(torch.softmax(logits, 1).numpy() - expected).max() < 1e-6


def test_graph_gives_embeddings_and_the_same_probabilities(
    trained: TrainedNetwork, onnx_files: dict[str, Path], embedding_file: Path, few: Views
) -> None:
    found = verified_embeddings(trained, embedding_file, few, "fp32")
    assert (found.width, found.photographs) == (4096, 6)
    assert found.min_cosine_similarity > 0.999999
    assert found.max_relative_difference < 1e-5
    infer = onnxruntime_infer(embedding_file)
    assert np.array_equal(infer(few.pixels), onnxruntime_infer(onnx_files["fp32"])(few.pixels))
    output = onnx.load(str(embedding_file)).graph.output[1]
    assert (output.name, output.type.tensor_type.shape.dim[1].dim_value) == ("EMBEDDINGS", 4096)
    assert output.type.tensor_type.shape.dim[0].dim_param


def test_embeddings_of_another_network_are_refused_with_both_sides(
    trained: TrainedNetwork, embedding_file: Path, few: Views
) -> None:
    torch.manual_seed(1)
    other = replace(trained, network=type(trained.network)(3).eval())  # type: ignore[arg-type]
    with pytest.raises(ParityError, match=r"fp32 engine's embeddings do not agree.*at least 0\.99999.*at most 0\.0001"):
        verified_embeddings(other, embedding_file, few, "fp32")


def test_comparison_measures_direction_and_length() -> None:
    found = compared_embeddings(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[6.0, 8.0], [0.0, 1.0]]))
    assert found.width == 2
    assert (found.min_cosine_similarity, found.mean_cosine_similarity) == pytest.approx((0.0, 0.5))
    assert found.max_relative_difference == pytest.approx(2**0.5)
    assert found.mean_relative_difference == pytest.approx((1 + 2**0.5) / 2)


def test_graph_with_another_end_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["PROBABILITIES"])
    sides = [onnx.helper.make_tensor_value_info(name, 1, ["N", 3]) for name in ("x", "PROBABILITIES")]
    graph = onnx.helper.make_graph([node], "g", sides[:1], sides[1:])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "relu.onnx"))
    with pytest.raises(EngineError, match="does not end in Gemm and Softmax"):
        add_embeddings(tmp_path / "relu.onnx", 3)


def test_configs_pass_embeddings_through_the_ensemble_only_when_asked() -> None:
    plain, with_embeddings = (
        {name: text_format.Parse(text, pb.ModelConfig()) for name, text in config_texts(spec).items()}
        for spec in (ServingSpec("onnxruntime", 227, 3), ServingSpec("onnxruntime", 227, 3, embedding_width=4096))
    )
    for model in ("alexnet", "classifier"):
        assert [output.name for output in plain[model].output] == ["PROBABILITIES"]
        assert list(with_embeddings[model].output[1].dims) == [4096]
    outputs = with_embeddings["classifier"].ensemble_scheduling.step[1].output_map
    assert dict(outputs) == {"PROBABILITIES": "PROBABILITIES", "EMBEDDINGS": "EMBEDDINGS"}


def test_manifest_has_the_embeddings_parity_only_with_embeddings(trained: TrainedNetwork, tmp_path: Path) -> None:
    plain = publish(tmp_path / "plain", trained, ENGINE).directory / "manifest.json"
    rich = publish(tmp_path / "rich", trained, replace(ENGINE, embeddings=PARITY)).directory / "manifest.json"
    assert "embeddings_parity" not in json.loads(plain.read_text())
    manifest = json.loads(rich.read_text())
    assert manifest["embeddings_parity"]["width"] == 4096
    assert manifest["tensors"][2] == {"name": "EMBEDDINGS", "kind": "output", "type": "TYPE_FP32", "dims": [4096]}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (None, PARITY, "have no embeddings, and Triton could not go back to them"),
        (PARITY, None, "have embeddings, which its users may rely on. Add --embeddings"),
    ],
)
def test_versions_of_a_repository_are_all_of_one_kind(
    trained: TrainedNetwork, tmp_path: Path, first: EmbeddingParity | None, second: EmbeddingParity | None, message: str
) -> None:
    publish(tmp_path / "models", trained, replace(ENGINE, embeddings=first))
    publish(tmp_path / "models", trained, replace(ENGINE, embeddings=first))
    with pytest.raises(PublishError, match=message):
        publish(tmp_path / "models", trained, replace(ENGINE, embeddings=second))
    assert sorted(path.name for path in (tmp_path / "models/alexnet").glob("[0-9]*")) == ["1", "2"]


def test_plan_with_embeddings_is_refused_before_the_build(tmp_path: Path) -> None:
    command = ["repository", "--engine", "tensorrt", "--embeddings", "--output", str(tmp_path / "models")]
    refused = subprocess.run([sys.executable, "-m", "alexnet_build", *command], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--embeddings: for --engine onnxruntime" in refused.stderr
