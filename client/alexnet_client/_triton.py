"""Triton's protocol: each call as the bytes of a protobuf request, each reply back as plain Python.

In and out: the types of ``_calls.py``. Called by: ``_transport.py``, with which it is loaded on first use,
for importing tritonclient takes several times as long as all of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from . import _calls as calls
from ._config import EMBEDDINGS, IMAGE, PROBABILITIES
from ._errors import InvalidImage, ProtocolMismatch

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
# A protobuf message has fewer than 2 GiB, and what is not the image takes a few hundred bytes of it.
LARGEST_IMAGE_BYTES = 2**31 - 4096
# A field starts with its number and its wire type, 2 for "length-delimited"
# (https://protobuf.dev/programming-guides/encoding/#structure).
RAW_INPUT_TAG = bytes([pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number << 3 | 2])


def infer_request(call: calls.Infer | calls.Embed, timeout_s: float) -> bytes:
    """A request for one image, IMAGE BYTES [1, 1]: for its classes by the classification extension, or its embedding.

    Serialized messages that are joined are one message
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so the image's bytes are copied once, into
    place; a message object would copy them three times on their way out.

    The parameter ``timeout`` is microseconds in a queue (Triton's "schedule policy" extension): an answer
    that nobody waits for any more need not be computed.
    """
    if isinstance(call.image_bytes, calls.SharedImage):
        return shared_infer_request(call, call.image_bytes, timeout_s)
    length = len(call.image_bytes)
    if length > LARGEST_IMAGE_BYTES:
        raise InvalidImage(f"the image has {length} bytes; one request carries at most {LARGEST_IMAGE_BYTES}")
    timeout = pb.ModelInferRequest()
    timeout.parameters["timeout"].int64_param = timeout_us(timeout_s)
    # a BYTES element is its length, 4 bytes little-endian, and its content
    return b"".join(
        (
            infer_head(call.model, call.version, call.class_count if isinstance(call, calls.Infer) else None),
            timeout.SerializeToString(),
            RAW_INPUT_TAG,
            varint(4 + length),
            struct.pack("<I", length),
            call.image_bytes,
        )
    )


def shared_infer_request(call: calls.Infer | calls.Embed, image: calls.SharedImage, timeout_s: float) -> bytes:
    """The same for an image in shared memory (Triton's "shared memory" extension)."""
    class_count = call.class_count if isinstance(call, calls.Infer) else None
    request = pb.ModelInferRequest.FromString(infer_head(call.model, call.version, class_count))
    request.parameters["timeout"].int64_param = timeout_us(timeout_s)
    request.inputs[0].parameters["shared_memory_region"].string_param = image.region
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = image.byte_size
    return bytes(request.SerializeToString())


def timeout_us(timeout_s: float) -> int:
    """Microseconds, at least 1, as far as Triton's parameter counts."""
    return min(max(1, int(timeout_s * 1e6)), 2**63 - 1)


@lru_cache(maxsize=16)
def infer_head(model: str, version: str, class_count: int | None) -> bytes:
    """What requests for different images have in common, serialized; ``class_count`` is None for embeddings."""
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name=IMAGE, datatype="BYTES", shape=[1, 1])
    if class_count is None:
        request.outputs.add(name=EMBEDDINGS)
    else:
        request.outputs.add(name=PROBABILITIES).parameters["classification"].int64_param = class_count
    return bytes(request.SerializeToString())


def varint(number: int) -> bytes:
    """A whole number from 0 as protobuf writes it: seven bits a byte, the lowest first, bit 7 for "more"."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def elements_from_reply(reply: Any) -> list[bytes]:
    """The elements of the only output, BYTES [1, k]."""
    raw, elements, at = content_from_reply(reply), [], 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        elements.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return elements


def content_from_reply(reply: Any) -> bytes:
    """The content of the only output."""
    if len(reply.raw_output_contents) != 1:
        raise ProtocolMismatch(f"the server answered {len(reply.raw_output_contents)} outputs where 1 was expected")
    return bytes(reply.raw_output_contents[0])


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


def statistics_from_reply(reply: Any) -> tuple[calls.ModelStatistics, ...]:
    """What each version of a model has done since it was loaded; a duration is a count and nanoseconds."""
    return tuple(
        calls.ModelStatistics(
            name=model.name,
            version=model.version,
            images=model.inference_count,
            executions=model.execution_count,
            requests=model.inference_stats.success.count,
            total_s=model.inference_stats.success.ns * 1e-9,
            queue_s=model.inference_stats.queue.ns * 1e-9,
            compute_s=(
                model.inference_stats.compute_input.ns
                + model.inference_stats.compute_infer.ns
                + model.inference_stats.compute_output.ns
            )
            * 1e-9,
        )
        for model in reply.model_stats
    )


@dataclass(frozen=True, slots=True)
class Codec:
    """How one kind of call travels.

    Attributes:
        method: Name of the remote method.
        request_from: The serialized request, from the call and the seconds that it may take.
        reply_type: The protobuf class of the reply.
        value_from: What the caller gets, from the reply.
    """

    method: str
    request_from: Callable[[Any, float], bytes]
    reply_type: Any
    value_from: Callable[[Any], Any]


def _named(request_type: Any) -> Callable[[Any, float], bytes]:
    """Requests that say which model, and nothing else."""
    return lambda call, _: request_type(name=call.model, version=call.version).SerializeToString()


def _register(call: calls.RegisterSharedMemory, timeout_s: float) -> bytes:
    request = pb.SystemSharedMemoryRegisterRequest(name=call.name, key=call.name, byte_size=call.byte_size)
    return bytes(request.SerializeToString())


def _unregister(call: calls.UnregisterSharedMemory, timeout_s: float) -> bytes:
    return bytes(pb.SystemSharedMemoryUnregisterRequest(name=call.name).SerializeToString())


def _empty(call: Any, timeout_s: float) -> bytes:
    return b""  # a message without fields


CODECS: dict[type, Codec] = {
    calls.Infer: Codec("ModelInfer", infer_request, pb.ModelInferResponse, elements_from_reply),
    calls.Embed: Codec("ModelInfer", infer_request, pb.ModelInferResponse, content_from_reply),
    calls.RegisterSharedMemory: Codec(
        "SystemSharedMemoryRegister", _register, pb.SystemSharedMemoryRegisterResponse, lambda reply: None
    ),
    calls.UnregisterSharedMemory: Codec(
        "SystemSharedMemoryUnregister", _unregister, pb.SystemSharedMemoryUnregisterResponse, lambda reply: None
    ),
    calls.ReadMetadata: Codec(
        "ModelMetadata", _named(pb.ModelMetadataRequest), pb.ModelMetadataResponse, metadata_from_reply
    ),
    calls.ReadComposingModels: Codec(
        "ModelConfig", _named(pb.ModelConfigRequest), pb.ModelConfigResponse, composing_models_from_reply
    ),
    calls.ReadStatistics: Codec(
        "ModelStatistics", _named(pb.ModelStatisticsRequest), pb.ModelStatisticsResponse, statistics_from_reply
    ),
    calls.ReadServer: Codec(
        "ServerMetadata", _empty, pb.ServerMetadataResponse, lambda reply: (reply.name, reply.version)
    ),
    calls.IsServerLive: Codec("ServerLive", _empty, pb.ServerLiveResponse, lambda reply: reply.live),
    calls.IsServerReady: Codec("ServerReady", _empty, pb.ServerReadyResponse, lambda reply: reply.ready),
    calls.IsModelReady: Codec(
        "ModelReady", _named(pb.ModelReadyRequest), pb.ModelReadyResponse, lambda reply: reply.ready
    ),
}
