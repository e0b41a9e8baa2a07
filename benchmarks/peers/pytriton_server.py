"""PyTriton with ``@batch``: decoding and the network in one Python function behind a Triton server.

    PEER_NETWORK=model.onnx PEER_THREADS=2 python benchmarks/peers/pytriton_server.py --grpc-port 8001 --http-port 8000

In: Triton's protocols, model "classifier", IMAGE STRING [1]. Out: PROBABILITIES FP32 [C].
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from photographs import Network
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig


def classifier(network: Network) -> Callable[..., dict[str, np.ndarray]]:
    """The function that is bound to the server; Pillow releases the GIL, so decoding gets a thread for each core."""
    decoders = ThreadPoolExecutor(int(os.environ["PEER_THREADS"]))

    @batch
    def classify(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        jpegs = inputs["IMAGE"][:, 0]  # (N,) bytes
        return {"PROBABILITIES": network.probabilities(np.stack(list(decoders.map(network.pixels, jpegs))))}

    return classify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--queue-delay-us", type=int, default=0, help="that a batch waits (%(default)s)")
    parser.add_argument("--instances", type=int, default=1, help="bound functions, each with its session (%(default)s)")
    options = parser.parse_args()
    networks = [Network() for _ in range(options.instances)]
    classes = networks[0].session.get_outputs()[0].shape[1]
    config = TritonConfig(
        grpc_port=options.grpc_port, http_port=options.http_port, allow_metrics=False, http_address="127.0.0.1",
        grpc_address="127.0.0.1",
    )  # fmt: skip
    # By default PyTriton asks for a token before it answers statistics, which perf_analyzer reads.
    with Triton(config=config, security_config=TritonSecurityConfig(restricted_endpoints=[])) as triton:
        triton.bind(
            model_name="classifier",
            infer_func=[classifier(network) for network in networks],
            inputs=[Tensor(name="IMAGE", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="PROBABILITIES", dtype=np.float32, shape=(classes,))],
            config=ModelConfig(
                max_batch_size=options.max_batch,
                batcher=DynamicBatcher(max_queue_delay_microseconds=options.queue_delay_us),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
