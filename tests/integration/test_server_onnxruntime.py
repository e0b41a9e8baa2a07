"""The ONNX Runtime backend on a real server, with and without OpenVINO: one run for all requests of a batch."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as grpcclient
from alexnet_server import running_server
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

DEADLINE_S = 60
BATCH_SIZES = [1, 3, 2, 2]  # 8 together


@pytest.fixture(scope="module", params=["openvino", None])
def coalescing_server(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Two copies of the repository's network, which wait for eight images before one runs; both have warmed up."""
    copy = shutil.copytree(repository, tmp_path_factory.mktemp("coalescing") / "models")
    path = copy / "alexnet" / "config.pbtxt"
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    config.instance_group[0].count = 2
    config.ClearField("optimization")
    if request.param:
        config.optimization.execution_accelerators.cpu_execution_accelerator.add(name=request.param)
    config.dynamic_batching.preferred_batch_size[:] = [sum(BATCH_SIZES)]
    config.dynamic_batching.max_queue_delay_microseconds = 20_000_000
    path.write_text(text_format.MessageToString(config))
    with running_server(copy) as server:
        yield server


def random_pixels(server: Any, count: int) -> np.ndarray:
    path = server.repository / "alexnet" / "config.pbtxt"
    dims = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig()).input[0].dims
    return np.random.default_rng(count).integers(0, 256, (count, *dims), dtype=np.uint8)


def input_from_pixels(pixels: np.ndarray) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput("PIXELS", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return tensor


def executions(client: grpcclient.InferenceServerClient) -> tuple[int, int]:
    statistics = client.get_inference_statistics("alexnet").model_stats[0]
    return statistics.inference_count, statistics.execution_count


def test_coalesced_requests_run_as_one_and_each_gets_its_own_rows(coalescing_server: Any) -> None:
    answers: queue.SimpleQueue = queue.SimpleQueue()
    pixels = [random_pixels(coalescing_server, size) for size in BATCH_SIZES]
    with grpcclient.InferenceServerClient(coalescing_server.grpc_url) as client:
        images_before, runs_before = executions(client)
        for number, request in enumerate(pixels):
            client.async_infer(
                "alexnet",
                [input_from_pixels(request)],
                lambda result, error, number=number: answers.put((number, result, error)),
                client_timeout=DEADLINE_S,
            )
        found = dict(answer[:2] for answer in (answers.get(timeout=DEADLINE_S) for _ in pixels))
        images_after, runs_after = executions(client)

    assert (images_after - images_before, runs_after - runs_before) == (sum(BATCH_SIZES), 1)
    session = onnxruntime.InferenceSession(
        next((coalescing_server.repository / "alexnet" / "1").glob("*.onnx")),
        providers=["CPUExecutionProvider"],
    )
    for number, request in enumerate(pixels):
        (expected,) = session.run(["PROBABILITIES"], {"PIXELS": request})
        np.testing.assert_allclose(found[number].as_numpy("PROBABILITIES"), expected, atol=1e-5)


def test_probabilities_of_each_image_sum_to_one(server: Any) -> None:
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        answer = client.infer("alexnet", [input_from_pixels(random_pixels(server, 4))], client_timeout=DEADLINE_S)

    np.testing.assert_allclose(answer.as_numpy("PROBABILITIES").sum(axis=1), np.ones(4), atol=1e-4)
