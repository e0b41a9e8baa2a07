"""A model repository that is quick to serve: a real Triton, an ensemble, and a model that looks at no pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CLASSES = 1000

ENSEMBLE = f"""
name: "classifier"
platform: "ensemble"
max_batch_size: %d
input {{ name: "IMAGE" data_type: TYPE_STRING dims: 1 }}
output {{ name: "PROBABILITIES" data_type: TYPE_FP32 dims: {CLASSES} }}
ensemble_scheduling {{
  step {{
    model_name: "counter"
    model_version: -1
    input_map {{ key: "IMAGE" value: "IMAGE" }}
    output_map {{ key: "PROBABILITIES" value: "PROBABILITIES" }}
  }}
}}
"""

COUNTER = f"""
name: "counter"
backend: "python"
max_batch_size: %d
input {{ name: "IMAGE" data_type: TYPE_STRING dims: 1 }}
output {{ name: "PROBABILITIES" data_type: TYPE_FP32 dims: {CLASSES} label_filename: "labels.txt" }}
instance_group {{ count: 1 kind: KIND_CPU }}
dynamic_batching {{ %s }}
"""

# An image is a number in decimal digits; its class is that number modulo CLASSES. What is no number is class 0.
MODEL = f"""
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(%r)
        responses = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().ravel()
            probabilities = np.zeros((len(images), {CLASSES}), np.float32)
            for row, image in enumerate(images):
                probabilities[row, int(image) %% {CLASSES} if image.isdigit() else 0] = 1
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("PROBABILITIES", probabilities)]))
        return responses
"""


@pytest.fixture(scope="session")
def counting_repository(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes a repository whose ensemble "classifies" numbers.

    Its arguments: `batching`, what is in the configuration's dynamic_batching; the `seconds` that a batch takes;
    and `max_batch`, the images in the largest one.
    """

    def made(batching: str = "", seconds: float = 0.0, max_batch: int = 64) -> Path:
        folder = tmp_path_factory.mktemp("counting") / "models"
        (folder / "classifier" / "1").mkdir(parents=True)
        (folder / "classifier" / "config.pbtxt").write_text(ENSEMBLE % max_batch)
        (folder / "counter" / "1").mkdir(parents=True)
        (folder / "counter" / "config.pbtxt").write_text(COUNTER % (max_batch, batching))
        (folder / "counter" / "labels.txt").write_text("".join(f"number {n}\n" for n in range(CLASSES)))
        (folder / "counter" / "1" / "model.py").write_text(MODEL % seconds)
        return folder

    return made
