"""LitServe: decoding in decode_request, dynamic batches in predict.

    PEER_NETWORK=model.onnx PEER_THREADS=2 python benchmarks/peers/litserve_server.py --port 8000 --max-batch 16

In: POST /predict with the JPEG as the body. Out: JSON. Annotations are no strings here, because LitServe reads them.
"""

import argparse
from typing import Annotated

import litserve
import numpy as np
from fastapi import Depends, Request
from photographs import Network, first_class


async def body(request: Request) -> bytes:
    """The request's body as it came: no form to parse, nothing but bytes for the worker's queue."""
    return await request.body()


class Classifier(litserve.LitAPI):
    """LitServe's four steps."""

    def setup(self, device: str) -> None:
        """Open the session, once in every worker process."""
        self.network = Network()

    def decode_request(self, request: Annotated[bytes, Depends(body)]) -> np.ndarray:
        """JPEG bytes to (S, S, 3) uint8."""
        return self.network.pixels(request)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Stack the images of a batch: (N, S, S, 3) uint8."""
        return np.stack(inputs)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return (N, C) float32; without batching, (S, S, 3) comes instead of (N, S, S, 3)."""
        return self.network.probabilities(pixels if pixels.ndim == 4 else pixels[None])

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """One row for each request."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, float]:
        """The first class."""
        return first_class(output.reshape(-1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode and classify (%(default)s)")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--batch-timeout", type=float, default=0.005, help="seconds that a batch waits (%(default)s)")
    options = parser.parse_args()
    api = Classifier(max_batch_size=options.max_batch, batch_timeout=options.batch_timeout)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=options.workers, timeout=120, fast_queue=True
    )
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
