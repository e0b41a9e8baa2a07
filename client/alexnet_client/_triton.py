"""Triton's protocol: each call as a protobuf request, each reply back as plain Python.

In and out: the types of ``_calls.py``. Called by: ``_transport.py``, with which it is loaded on first use,
for importing tritonclient takes several times as long as all of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from . import _calls as calls
from ._config import IMAGE, PROBABILITIES
from ._errors import ProtocolMismatch


def infer_request(call: calls.Infer, timeout_s: float) -> Any:
    """A request for one image, IMAGE BYTES [1, 1], answered by the classification extension.

    The parameter ``timeout`` is microseconds in a queue (Triton's "schedule policy" extension): an answer
    that nobody waits for any more need not be computed.
    """
    request = pb.ModelInferRequest(model_name=call.model, model_version=call.version)
    request.parameters["timeout"].int64_param = max(1, int(timeout_s * 1e6))
    request.inputs.add(name=IMAGE, datatype="BYTES", shape=[1, 1])
    request.outputs.add(name=PROBABILITIES).parameters["classification"].int64_param = call.class_count
    # a BYTES element is its length, 4 bytes little-endian, and its content
    request.raw_input_contents.append(struct.pack("<I", len(call.image_bytes)) + call.image_bytes)
    return request


def elements_from_reply(reply: Any) -> list[bytes]:
    """The elements of the first output, BYTES [1, k]."""
    if len(reply.raw_output_contents) != 1:
        raise ProtocolMismatch(f"the server answered {len(reply.raw_output_contents)} outputs where 1 was expected")
    raw, elements, at = reply.raw_output_contents[0], [], 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        elements.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return elements


def metadata_from_reply(reply: Any) -> calls.ModelMetadata:
    """A model's metadata."""
    return calls.ModelMetadata(
        name=reply.name,
        platform=reply.platform,
        versions=tuple(reply.versions),
        inputs=tuple(calls.TensorMetadata(t.name, t.datatype, tuple(t.shape)) for t in reply.inputs),
        outputs=tuple(calls.TensorMetadata(t.name, t.datatype, tuple(t.shape)) for t in reply.outputs),
    )


def composing_models_from_reply(reply: Any) -> tuple[str, ...]:
    """The models of an ensemble's steps, each once, in their order."""
    return tuple(dict.fromkeys(step.model_name for step in reply.config.ensemble_scheduling.step))


# call -> name of the method, request from (call, timeout_s), value from reply
CODECS: dict[type, tuple[str, Callable[[Any, float], Any], Callable[[Any], Any]]] = {
    calls.Infer: ("ModelInfer", infer_request, elements_from_reply),
    calls.ReadMetadata: (
        "ModelMetadata",
        lambda call, _: pb.ModelMetadataRequest(name=call.model, version=call.version),
        metadata_from_reply,
    ),
    calls.ReadComposingModels: (
        "ModelConfig",
        lambda call, _: pb.ModelConfigRequest(name=call.model, version=call.version),
        composing_models_from_reply,
    ),
    calls.ReadServer: (
        "ServerMetadata",
        lambda call, _: pb.ServerMetadataRequest(),
        lambda reply: (reply.name, reply.version),
    ),
    calls.IsServerLive: ("ServerLive", lambda call, _: pb.ServerLiveRequest(), lambda reply: reply.live),
    calls.IsServerReady: ("ServerReady", lambda call, _: pb.ServerReadyRequest(), lambda reply: reply.ready),
    calls.IsModelReady: (
        "ModelReady",
        lambda call, _: pb.ModelReadyRequest(name=call.model, version=call.version),
        lambda reply: reply.ready,
    ),
}
