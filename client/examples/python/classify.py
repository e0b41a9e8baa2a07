"""Classify image files on Triton with grpcio and generated stubs, without tritonclient and without reflection.

    pip install -r requirements.txt
    python -m grpc_tools.protoc --descriptor_set_in=../triton.protoset \
        --python_out=. --grpc_python_out=. grpc_service.proto model_config.proto
    python classify.py [--url localhost:8001] [--top 5] [--deadline 10] IMAGE...

Prints path, label and score, separated by tabs. Exit status: 0 done, 1 an image failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path
from typing import NamedTuple

import grpc
from grpc_service_pb2 import ModelInferRequest
from grpc_service_pb2_grpc import GRPCInferenceServiceStub

# A classification is safe to repeat. UNAVAILABLE is a server that cannot be reached, or one whose queue is full.
RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class Prediction(NamedTuple):
    """One class that the image may belong to; `score` is its probability."""

    label: str
    index: int
    score: float


def classify(
    stub: GRPCInferenceServiceStub, image_bytes: bytes, *, top_k: int = 5, deadline_s: float = 10
) -> list[Prediction]:
    """The labels of one encoded image, best first.

    Raises:
        grpc.RpcError: the server refused the image, or did not answer in time.
    """
    request = ModelInferRequest(model_name="classifier")
    request.inputs.add(name="IMAGE", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(image_bytes)
    request.outputs.add(name="PROBABILITIES").parameters["classification"].int64_param = top_k
    reply = stub.ModelInfer(request, timeout=deadline_s)
    return [prediction_from_element(element) for element in elements(reply.raw_output_contents[0])]


def elements(raw: bytes) -> list[str]:
    """A BYTES tensor's elements: each has its length in front, four bytes, little-endian."""
    found, at = [], 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        found.append(raw[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return found


def prediction_from_element(element: str) -> Prediction:
    """Read "0.658295:25:cougar_face", where the label may hold colons of its own."""
    score, index, *label = element.split(":", 2)
    return Prediction("".join(label), int(index), float(score))


def main() -> int:
    """Classify every image that is named; a bad one does not stop the others."""
    parser = argparse.ArgumentParser(description="Classify image files on Triton.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--url", default="localhost:8001", metavar="HOST:PORT")
    parser.add_argument("--top", type=int, default=5, metavar="K")
    parser.add_argument("--deadline", type=float, default=10, metavar="SECONDS")
    wanted = parser.parse_args()
    failed = False
    with grpc.insecure_channel(wanted.url, [("grpc.service_config", json.dumps(RETRIES))]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for path in wanted.images:
            try:
                best = classify(stub, path.read_bytes(), top_k=wanted.top, deadline_s=wanted.deadline)
            except OSError as error:
                print(f"{path}: {error.strerror}", file=sys.stderr)
                failed = True
            except grpc.RpcError as error:
                print(f"{path}: {error.details()} ({error.code().name})", file=sys.stderr)
                failed = True
            else:
                for prediction in best:
                    print(path, prediction.label, f"{prediction.score:.6f}", sep="\t")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
