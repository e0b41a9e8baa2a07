"""Large photographs on a real server: small ones overtake them, and memory stays within its bounds."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from alexnet_client import Classifier
from alexnet_server import running_server
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2

DEADLINE_S = 120
MEGAPIXELS_48 = (8000, 6000)
MIB = 1 << 20
UNDER_WAY = 24  # panoramas
# preprocess/1/model.py, per instance: decoding, and files that wait. The rest is for what Python and the server take.
DECODING_BYTES = 512 * MIB
SLACK_BYTES = 192 * MIB


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The repository with one preprocessing instance of four threads."""
    copy = shutil.copytree(repository, tmp_path_factory.mktemp("large") / "models")
    path = copy / "preprocess" / "config.pbtxt"
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    config.instance_group[0].count = 1
    config.parameters["DECODE_THREADS"].string_value = "4"
    path.write_text(text_format.MessageToString(config))
    with running_server(copy) as server:
        yield server


@pytest.fixture(scope="module")
def large(photographs: list[Path]) -> Image.Image:
    """48 megapixels with the detail of photographs, so that decoding takes as long as theirs does."""
    image = Image.new("RGB", MEGAPIXELS_48)
    with Image.open(photographs[0]) as photograph:
        for left in range(0, image.width, photograph.width):
            for upper in range(0, image.height, photograph.height):
                image.paste(photograph, (left, upper))
    return image


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def preprocess_process(server: Any) -> psutil.Process:
    """The one process that decodes."""
    (process,) = (
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if any("preprocess" in argument for argument in child.cmdline())
    )
    return process


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that was ever resident, with the requests' own in what is shared with Triton."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


def test_small_images_overtake_large_ones(server: Any, large: Image.Image, photographs: list[Path]) -> None:
    panorama, small = encoded(large, "JPEG"), photographs[0].read_bytes()
    answers, done = [], threading.Event()

    def send_panoramas(classifier: Classifier) -> None:
        while not done.is_set():
            answers.append(classifier.classify(panorama))

    with (
        Classifier(server.grpc_url, deadline_s=DEADLINE_S) as classifier,
        ThreadPoolExecutor(UNDER_WAY) as pool,
    ):
        classifier.classify(small)
        senders = [pool.submit(send_panoramas, classifier) for _ in range(UNDER_WAY)]
        try:
            smalls = [classifier.classify(small) for _ in range(3)]
            panoramas_before = len(answers)
        finally:
            done.set()
        for sender in senders:
            sender.result()

    # In the order of their coming, each small one would have waited for those that were under way.
    assert panoramas_before < 3 * UNDER_WAY / 2
    assert len({answer[0].label for answer in answers}) == 1
    assert len({answer[0].label for answer in smalls}) == 1


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {"compress_level": 1}), ("PNG", {}), ("JPEG", {"progressive": True}), ("JPEG", {})],
)
def test_memory_is_bounded_while_many_large_images_are_decoded(
    server: Any, large: Image.Image, image_format: str, options: dict[str, Any]
) -> None:
    flat = image_format == "PNG" and not options  # a file of next to nothing, which decodes to 192 MB all the same
    image_bytes = encoded(Image.new("RGB", MEGAPIXELS_48) if flat else large, image_format, **options)
    process = preprocess_process(server)
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # proc(5): the peak starts anew
    before = peak_bytes(process)
    with Classifier(server.grpc_url, deadline_s=DEADLINE_S) as classifier:
        results = list(classifier.classify_many([image_bytes] * 12, concurrency=12))

    assert [result.error for result in results] == [None] * 12
    waiting_bytes = 12 * len(image_bytes)  # held in shared memory and, unpacked, in the process
    assert peak_bytes(process) - before < DECODING_BYTES + 2 * waiting_bytes + SLACK_BYTES
