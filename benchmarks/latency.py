"""What the server adds to one request: the same work in this process and through the ensemble, in turns.

In: a running server, its network and image files. Out: seconds per image of both ways. Called by serving.py.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_client import Classifier
from alone import RESIZE_SHORT_SIDE, NetworkAlone


def measure_latency(
    grpc_url: str, network: NetworkAlone, jpegs: list[Path], *, rounds: int, images: int
) -> tuple[list[float], list[float]]:
    """Classify one image after the other, a block in this process, a block through the server, and so on.

    Args:
        grpc_url: HOST:PORT of the server.
        network: what runs in this process, the server's own.
        jpegs: taken in turn; both ways get the same ones.
        rounds: blocks of each way.
        images: images of a block.

    Returns:
        Seconds per image: in this process, and through the server.
    """

    def in_process(jpeg: Path) -> np.ndarray:
        return network.probabilities(pixels_from_photograph(jpeg, network.size, RESIZE_SHORT_SIDE)[None])

    with Classifier(grpc_url) as classifier:
        ways: list[Callable[[Path], object]] = [in_process, classifier.classify]
        seconds: tuple[list[float], list[float]] = ([], [])
        for way in ways:
            seconds_each(way, jpegs)  # warm-up
        source = itertools.cycle(jpegs)
        for number in range(rounds):
            block = list(itertools.islice(source, images))
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                seconds[which].extend(seconds_each(ways[which], block))
    return seconds


def seconds_each(classify: Callable[[Path], object], images: list[Path]) -> list[float]:
    """Time every image."""
    seconds = []
    for image in images:
        begun_s = time.perf_counter()
        classify(image)
        seconds.append(time.perf_counter() - begun_s)
    return seconds
