"""The preprocessing model on a real server: its functions' pixels, and its own faults called its own."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from alexnet_client._flows import TEST_IMAGE
from alexnet_server import StartError, running_server
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

DEADLINE_S = 30

# Put after the real functions of a copied repository: one image in particular meets a fault of ours.
FAULT = """

_write_pixels, _open_image = write_pixels, open_image

def open_image(image_bytes, **keywords):
    image = _open_image(TEST_IMAGE if image_bytes == b"trigger" else image_bytes, **keywords)
    image.is_trigger = image_bytes == b"trigger"
    return image

def write_pixels(image, *arguments, **keywords):
    if image.is_trigger:
        raise RuntimeError("no such luck")
    _write_pixels(image, *arguments, **keywords)

"""


@pytest.fixture(scope="module")
def faulty_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The repository with one instance of three threads, and with `FAULT`."""
    copy = shutil.copytree(repository, tmp_path_factory.mktemp("faulty") / "models")
    with (copy / "preprocess" / "1" / "image_preprocessing.py").open("a") as module:
        module.write(f"TEST_IMAGE = {TEST_IMAGE!r}\n{FAULT}")
    config = read_config(copy)
    config.instance_group[0].count = 1
    config.parameters["DECODE_THREADS"].string_value = "3"
    write_config(copy, config)
    with running_server(copy) as server:
        yield server


def read_config(repository: Path) -> Any:
    text = (repository / "preprocess" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def write_config(repository: Path, config: Any) -> None:
    (repository / "preprocess" / "config.pbtxt").write_text(text_format.MessageToString(config))


def preprocess(server: Any, images: list[bytes]) -> np.ndarray:
    tensor = grpcclient.InferInput("IMAGE", [len(images), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=object).reshape(-1, 1))
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        return client.infer("preprocess", [tensor], client_timeout=DEADLINE_S).as_numpy("PIXELS")


def test_pixels_are_those_of_the_pure_functions_for_each_image_of_a_request(
    server: Any, faulty_server: Any, photographs: list[Path]
) -> None:
    module_path = server.repository / "preprocess" / "1" / "image_preprocessing.py"
    specification = importlib.util.spec_from_file_location("image_preprocessing", module_path)
    assert specification
    assert specification.loader
    functions = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(functions)
    crop_size = read_config(server.repository).output[0].dims[0]
    images = [path.read_bytes() for path in photographs] * 3

    expected = np.stack([functions.pixels_from_image(image, crop_size) for image in images])

    assert np.array_equal(preprocess(server, images), expected)
    assert np.array_equal(preprocess(faulty_server, images), expected)  # three threads, one instance


def test_own_fault_is_internal_not_the_callers(faulty_server: Any, photographs: list[Path]) -> None:
    with pytest.raises(InferenceServerException) as caught:
        preprocess(faulty_server, [photographs[0].read_bytes(), b"garbage", b"trigger"])

    assert caught.value.status() == "StatusCode.INTERNAL"
    assert "image 2 of 3: preprocessing failed: RuntimeError('no such luck')" in caught.value.message()
    assert "image 1" not in caught.value.message()
    assert preprocess(faulty_server, [photographs[0].read_bytes()]).shape[0] == 1


def test_many_bad_images_are_counted_after_the_first_five(server: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        preprocess(server, [b""] * 8)

    assert "image 4 of 8: the image is empty: 0 bytes; and 3 more" in caught.value.message()


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("RESIZE_SHORT_SIDE", "tall", "parameter RESIZE_SHORT_SIDE is 'tall', expected a whole number"),
        ("RESIZE_SHORT_SIDE", "100", "with S at most RESIZE_SHORT_SIDE, which is 100"),
        ("MAX_IMAGE_PIXELS", "0", "MAX_IMAGE_PIXELS is 0, expected 1 to 178956970"),
    ],
)
def test_model_does_not_load_for_a_parameter_that_contradicts(
    repository: Path, tmp_path: Path, parameter: str, value: str, message: str
) -> None:
    copy = shutil.copytree(repository, tmp_path / "models")
    config = read_config(copy)
    config.parameters[parameter].string_value = value
    write_config(copy, config)

    with pytest.raises(StartError, match=message), running_server(copy):
        pass


def test_request_without_an_image_is_answered(server: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        preprocess(server, [])

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
