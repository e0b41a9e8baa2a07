"""What every peer does with a photograph: Pillow decodes it, ONNX Runtime classifies it. No server is in here.

In: JPEG bytes. Out: pixels, and the first class of each. Imported by the peers; needs Pillow, NumPy and ONNX Runtime.

The steps are those of torchvision's preset (short side to 256, centre crop) on Pillow itself, without its tensors, so
that no peer is held back by its preprocessing.
Settings come in environment variables, because most of these servers start their worker processes themselves.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
import onnxruntime
from PIL import Image

RESIZE_SHORT_SIDE = 256


class Network:
    """The network file in one ONNX Runtime session; PEER_NETWORK and PEER_THREADS say which and on how many cores."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["PEER_THREADS"])
        # As in the server that they are measured against: threads that spin take the core that decodes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ["PEER_NETWORK"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.size = self.session.get_inputs()[0].shape[1]

    def pixels(self, jpeg: bytes) -> np.ndarray:
        """Decode, resize the short side, crop the centre: (S, S, 3) uint8."""
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        scale = RESIZE_SHORT_SIDE / min(image.size)
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
        left, upper = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return np.asarray(image.crop((left, upper, left + self.size, upper + self.size)))

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Run the network on (N, S, S, 3) uint8; returns (N, C) float32."""
        return self.session.run(["PROBABILITIES"], {"PIXELS": pixels})[0]

    def answers(self, batch: Sequence[np.ndarray]) -> list[dict[str, int | float]]:
        """The first class of each image of a batch, and how probable it is."""
        return [first_class(row) for row in self.probabilities(np.stack(batch))]


def first_class(probabilities: np.ndarray) -> dict[str, int | float]:
    """The answer that goes back as JSON."""
    index = int(probabilities.argmax())
    return {"index": index, "score": float(probabilities[index])}
