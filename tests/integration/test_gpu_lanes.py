"""The GPU's way through a real server, on a device that Pillow plays: what is answered, by whom, and beside what.

The real device is tested in tests/unit/preprocess/gpu; here is what lies around it, which needs no GPU.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from alexnet_server import StartError, running_server
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

DEADLINE_S = 30
LANES = 2
MANY = 12  # images of a request; model.py sends requests of so many from their lane
# What the device does with an image goes by its width; all others it decodes.
REFUSED, FATAL, SLOW = 61, 62, 63
SLOW_S = 1.0

# In the place of cuda_device.py: a decoder that paints each image in its first pixel's colour, plus one in red, so that
# the answer tells who made it.
DEVICE = f"""
import io, threading, time
import numpy as np
from PIL import Image
from .gpu_preprocessing import DecodedImage

class DeviceError(RuntimeError):
    pass

class CudaDevice:
    name, jpeg_engines = "Pillow", 1

    def __init__(self, crop_size, *, device_id=0):
        self.crop_size = crop_size
        self.thread = None
        self.host = np.empty((64, crop_size, crop_size, 3), np.uint8)

    def empty_pixels(self, count):
        return np.zeros((count, self.crop_size, self.crop_size, 3), np.uint8)

    def decode(self, jpegs):
        assert self.thread in (None, threading.get_ident()), "two batches in one lane"
        self.thread = threading.get_ident()
        self.colours, decoded = [], []
        for jpeg in jpegs:
            image = Image.open(io.BytesIO(jpeg))
            if image.width == {FATAL}:
                raise RuntimeError("nvjpegDecodeBatched answered status 6")
            if image.width == {SLOW}:
                time.sleep({SLOW_S})
            self.colours.append(np.add(image.convert("RGB").getpixel((0, 0)), (1, 0, 0)))
            refused = image.width == {REFUSED}
            decoded.append(None if refused else DecodedImage(len(self.colours) - 1, 0, *image.size))
        return decoded

    def crop_resize(self, crops, pixels, max_taps):
        for crop in crops:
            pixels[crop["row"]] = self.colours[int(crop["pixels"])]

    def synchronize(self):
        self.thread = None

    def host_copy(self, pixels):  # into the same memory each time, as the real one does
        self.thread = None
        self.host[: len(pixels)] = pixels
        return self.host[: len(pixels)]
"""


@pytest.fixture(scope="module", params=["host", "device"])
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The repository with one preprocessing instance of two lanes on that device, and pixels from either memory."""
    copy = copy_with(repository, tmp_path_factory.mktemp("gpu"), lanes=LANES, hand_over=request.param)
    with running_server(copy) as server:
        yield server


def copy_with(repository: Path, folder: Path, *, lanes: int, hand_over: str = "host") -> Path:
    copy = shutil.copytree(repository, folder / "models")
    (copy / "preprocess" / "1" / "cuda_device.py").write_text(DEVICE)
    path = copy / "preprocess" / "config.pbtxt"
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    config.instance_group[0].count = 1
    config.parameters["DEVICE"].string_value = "auto"
    config.parameters["GPU_BATCHES"].string_value = str(lanes)
    config.parameters["HAND_OVER"].string_value = hand_over
    path.write_text(text_format.MessageToString(config))
    return copy


def encoded(colour: tuple[int, int, int], width: int = 60, image_format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 50), colour).save(file, image_format, quality=100)
    return file.getvalue()


def colours(server: Any, images: list[bytes]) -> list[tuple[int, ...]]:
    """Each image's colour, as the server's pixels have it."""
    tensor = grpcclient.InferInput("IMAGE", [len(images), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=object).reshape(-1, 1))
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        pixels = client.infer("preprocess", [tensor], client_timeout=DEADLINE_S).as_numpy("PIXELS")
    assert all((image == image[0, 0]).all() for image in pixels)
    return [tuple(map(int, image[0, 0])) for image in pixels]


GREY, BLUE = (100, 100, 100), (0, 0, 254)
GREY_BY_GPU, BLUE_BY_GPU = (101, 100, 100), (1, 0, 254)


def test_jpegs_are_the_gpus_and_the_rest_is_the_cpus_in_the_same_request(server: Any) -> None:
    images = [encoded(GREY), encoded(GREY, image_format="PNG"), encoded(BLUE), encoded(BLUE, image_format="PNG")]

    assert colours(server, images) == [GREY_BY_GPU, GREY, BLUE_BY_GPU, BLUE]
    assert colours(server, images[::2]) == [GREY_BY_GPU, BLUE_BY_GPU]
    assert colours(server, images[1::2]) == [GREY, BLUE]


@pytest.mark.parametrize("width", [REFUSED, FATAL])
def test_image_that_the_gpu_cannot_do_is_the_cpus_and_its_neighbours_stay(server: Any, width: int) -> None:
    images = [encoded(GREY), encoded(GREY, width), encoded(BLUE)]

    assert colours(server, images) == [GREY_BY_GPU, GREY, BLUE_BY_GPU]
    assert colours(server, [encoded(GREY, width)]) == [GREY]


def test_image_that_nobody_can_read_fails_its_own_request_alone(server: Any) -> None:
    with ThreadPoolExecutor(8) as threads:
        good = [threads.submit(colours, server, [encoded(GREY)]) for _ in range(6)]
        bad = threads.submit(colours, server, [encoded(GREY), b"hello"])

    assert [answer.result() for answer in good] == [[GREY_BY_GPU]] * 6
    with pytest.raises(InferenceServerException, match="image 1 of 2: not an image in a known format"):
        bad.result()


def test_request_of_many_images_is_overtaken_and_a_third_waits_for_a_lane(server: Any) -> None:
    slow_images = [encoded(GREY, SLOW)] + [encoded(GREY)] * (MANY - 1)
    with ThreadPoolExecutor(4) as threads:
        slow = threads.submit(colours, server, slow_images)
        time.sleep(SLOW_S / 5)  # it is in its lane

        assert colours(server, [encoded(BLUE)]) == [BLUE_BY_GPU]
        assert colours(server, [encoded(BLUE)] * MANY) == [BLUE_BY_GPU] * MANY
        assert not slow.done()
        more = [threads.submit(colours, server, slow_images) for _ in range(3)]

        assert slow.result() == [GREY_BY_GPU] * MANY
        assert [answer.result() for answer in more] == [[GREY_BY_GPU] * MANY] * 3


def test_request_of_many_images_is_answered_by_gpu_and_cpu_together(server: Any) -> None:
    images = [encoded(GREY), encoded(GREY, REFUSED), encoded(GREY, FATAL), encoded(BLUE, image_format="PNG")] * MANY

    assert colours(server, images) == [GREY_BY_GPU, GREY, GREY, BLUE] * MANY
    with pytest.raises(InferenceServerException, match=f"image {4 * MANY} of {4 * MANY + 1}: not an image"):
        colours(server, [*images, b"hello"])


def test_many_requests_at_once_get_their_own_pixels(server: Any) -> None:
    shades = [(shade, 255 - shade, 0) for shade in range(0, 254, 2)]

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda shade: colours(server, [encoded(shade)] * (1 + shade[0] % 24)), shades))

    for (red, green, _), answer in zip(shades, answers, strict=True):
        assert len(answer) == 1 + red % 24
        for colour in answer:  # JPEG rounds colours by a level or two
            assert np.abs(np.subtract(colour, (red + 1, green, 0))).max() <= 2


def test_empty_lanes_are_refused_with_the_parameters_name(repository: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match="GPU_BATCHES is 0, expected 1 or more"),
        running_server(copy_with(repository, tmp_path, lanes=0)),
    ):
        pass
