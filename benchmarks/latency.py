"""What the server adds to one request: the same work in this process and through the ensemble, in turns.

In: a running server and image files. Out: seconds per image of both ways. Called by ensemble.py.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_client import Classifier
from configs import config_of, newest_network

Image = TypeVar("Image")


class InProcess:
    """The server's decoding and one ONNX Runtime session, both here, without any server.

    Args:
        repository: whose network, sizes and session parameters are taken.
    """

    def __init__(self, repository: Path) -> None:
        preprocess, alexnet = config_of(repository, "preprocess"), config_of(repository, "alexnet")
        self._size = preprocess.output[0].dims[0]
        self._resize_short_side = int(preprocess.parameters["RESIZE_SHORT_SIDE"].string_value)
        options = onnxruntime.SessionOptions()  # as server/backends/onnxruntime/model.py sets them
        threads = int(alexnet.parameters["intra_op_thread_count"].string_value or 0)
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        model = newest_network(repository)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def classify(self, jpeg: Path) -> np.ndarray:
        """Return the probabilities of one image file: (1, C) float32."""
        pixels = pixels_from_photograph(jpeg, self._size, self._resize_short_side)
        return self._session.run(["PROBABILITIES"], {"PIXELS": pixels[None]})[0]


def measure_latency(
    grpc_url: str, repository: Path, jpegs: list[Path], *, rounds: int, images: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Classify one image after the other, a block in this process, a block through the server, and so on.

    Args:
        grpc_url: HOST:PORT of the server of ``repository``.
        repository: what runs in this process.
        jpegs: taken in turn; both ways get the same ones.
        rounds: blocks of each way.
        images: images of a block.

    Returns:
        Seconds per image of each block: in this process, and through the server.
    """
    in_process = InProcess(repository)
    with Classifier(grpc_url) as classifier:
        ways: list[Callable[[Path], object]] = [in_process.classify, classifier.classify]
        blocks: tuple[list[list[float]], list[list[float]]] = ([], [])
        for way in ways:
            seconds_each(way, jpegs)  # warm-up
        source = itertools.cycle(jpegs)
        for number in range(rounds):
            block = list(itertools.islice(source, images))
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                blocks[which].append(seconds_each(ways[which], block))
    return blocks


def seconds_each(classify: Callable[[Image], object], images: Sequence[Image]) -> list[float]:
    """Time every image."""
    seconds = []
    for image in images:
        begun_s = time.perf_counter()
        classify(image)
        seconds.append(time.perf_counter() - begun_s)
    return seconds
