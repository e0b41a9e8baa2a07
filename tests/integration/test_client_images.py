"""Images on their way to a real Triton Inference Server: shrunk, and from the web."""

from __future__ import annotations

import io
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alexnet_client import Classifier, InvalidImage
from alexnet_client._shrink import shrunk_image_bytes
from PIL import Image


def enlarged(path: Path, kind: str, short_side: int) -> bytes:
    """A photograph as a large camera would have taken it: more pixels, with noise in each of them."""
    with Image.open(path) as small:
        scale = short_side / min(small.size)
        image = small.convert("RGB").resize((round(small.width * scale), round(small.height * scale)))
    noise = np.random.default_rng(0).integers(-12, 13, (image.height, image.width, 1), np.int16)
    pixels = (np.asarray(image, np.int16) + noise).clip(0, 255).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, quality=90, compress_level=1)
    return target.getvalue()


@pytest.mark.parametrize(("kind", "short_side"), [("JPEG", 2400), ("JPEG", 1100), ("PNG", 1500)])
def test_shrunk_photographs_keep_their_predictions(
    server: Any, photographs: list[Path], kind: str, short_side: int
) -> None:
    whole = [enlarged(path, kind, short_side) for path in photographs]
    with Classifier(server.grpc_url) as plain, Classifier(server.grpc_url, shrink=True) as shrinking:
        for image in whole:
            expected = {prediction.index: prediction.score for prediction in plain.classify(image, top_k=101)}
            found = {prediction.index: prediction.score for prediction in shrinking.classify(image, top_k=101)}
            assert max(found, key=found.__getitem__) == max(expected, key=expected.__getitem__)
            # total variation: the share of probability that went to other classes
            moved = sum(abs(found[index] - expected[index]) for index in expected) / 2
            assert moved < (0.02 if kind == "JPEG" else 0.05)
    sent = sum(len(shrunk_image_bytes(image)) for image in whole)
    assert sent < sum(map(len, whole)) * (0.15 if short_side == 2400 else 0.5)


def test_image_from_the_web_is_classified_like_the_file(server: Any, photographs: list[Path]) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(photographs[0].parent))
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_port}"
    try:
        with Classifier(server.grpc_url, allow_urls=True) as classifier:
            found = classifier.classify_many([f"{address}/{photographs[0].name}", f"{address}/none.jpg"])
            image, missing = found
            assert image.predictions == tuple(classifier.classify(photographs[0]))
            assert isinstance(missing.error, InvalidImage)
            assert missing.error.message == f"{address}/none.jpg: cannot be downloaded (HTTP 404 File not found)"
    finally:
        web.shutdown()
        web.server_close()
