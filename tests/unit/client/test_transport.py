"""The transports over real gRPC, against a server in this process that says what it is told to."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from alexnet_client import (
    AlexNetClientError,
    AsyncClassifier,
    Cancelled,
    Classifier,
    DeadlineExceeded,
    InvalidImage,
    _errors,
)
from alexnet_client import _calls as calls
from alexnet_client._transport import AsyncGrpcTransport, GrpcTransport, channel_options
from alexnet_client._triton import elements_from_reply, infer_request
from tritonclient.grpc import service_pb2, service_pb2_grpc

IMAGE = calls.Infer("classifier", "", b"image", 1)
GIVE_UP_S = 20


class Scripted(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Ends every call with `code` and `words`, or with neither holds it until `release` is set."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.words = ""
        self.release = threading.Event()
        self.arrived = threading.Event()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.arrived.set()
        if self.code is not None:
            context.abort(self.code, self.words)
        self.release.wait(GIVE_UP_S)
        return service_pb2.ModelInferResponse()


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Scripted, str]]:
    servicer = Scripted()
    server = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    servicer.release.set()
    server.stop(None).wait()


async def send_async(url: str, call: calls.Call, timeout_s: float) -> Any:
    transport = AsyncGrpcTransport(url)
    try:
        return await transport.send(call, timeout_s)
    finally:
        await transport.close()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_status_becomes_the_error_of_the_table_in_both_worlds(
    scripted: tuple[Scripted, str], code: grpc.StatusCode
) -> None:
    servicer, url = scripted
    servicer.code, servicer.words = code, "in ensemble 'classifier', the reason"
    transport = GrpcTransport(url)
    for send in (
        lambda: transport.send(IMAGE, GIVE_UP_S),
        lambda: asyncio.run(send_async(url, IMAGE, GIVE_UP_S)),
    ):
        with pytest.raises(AlexNetClientError) as caught:
            send()
        assert type(caught.value) is _errors.ERROR_FROM_STATUS[code.name]
        assert caught.value.status == code.name
        assert "the reason" in caught.value.message
        assert "in ensemble" not in caught.value.message
    transport.close()


def test_silent_server_is_given_up_at_the_deadline_in_both_worlds(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code = None
    transport = GrpcTransport(url)
    started_s = transport.now_s()
    with pytest.raises(DeadlineExceeded):
        transport.send(IMAGE, 0.2)
    with pytest.raises(DeadlineExceeded):
        asyncio.run(send_async(url, IMAGE, 0.2))
    assert 0.4 <= transport.now_s() - started_s < 5
    transport.close()


def test_close_ends_a_call_that_is_under_way(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code = None
    servicer.arrived.clear()
    transport = GrpcTransport(url)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(transport.send, IMAGE, GIVE_UP_S)
        assert servicer.arrived.wait(GIVE_UP_S)
        transport.close()
        with pytest.raises(Cancelled):
            under_way.result(timeout=GIVE_UP_S / 2)


def test_close_ends_a_pause() -> None:
    transport = GrpcTransport("127.0.0.1:1")
    transport.close()
    started_s = transport.now_s()
    transport.pause(GIVE_UP_S)
    assert transport.now_s() - started_s < GIVE_UP_S / 2


def test_closed_client_says_so_in_both_worlds() -> None:
    classifier = Classifier("127.0.0.1:1")
    classifier.close()
    classifier.close()
    with pytest.raises(Cancelled, match="the client was closed"):
        classifier.classify(b"image")

    async def run() -> None:
        async_classifier = AsyncClassifier("127.0.0.1:1")
        await async_classifier.close()
        await async_classifier.classify(b"image")

    with pytest.raises(Cancelled, match="the client was closed"):
        asyncio.run(run())


def refused_in_child(transport: GrpcTransport, answers: Any) -> None:
    try:
        transport.send(IMAGE, GIVE_UP_S)
    except InvalidImage as error:
        answers.put(error.message)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_connects_anew(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code, servicer.words = grpc.StatusCode.INVALID_ARGUMENT, "not an image"
    transport = GrpcTransport(url)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=refused_in_child, args=(transport, answers))
    child.start()
    assert answers.get(timeout=GIVE_UP_S) == "not an image"
    child.join(GIVE_UP_S)
    with pytest.raises(InvalidImage):
        transport.send(IMAGE, GIVE_UP_S)
    transport.close()


def test_request_carries_one_image_the_class_count_and_the_queue_timeout_in_microseconds() -> None:
    request = infer_request(calls.Infer("classifier", "3", b"\xff\xd8jpeg", 5), timeout_s=1.5)
    assert (request.model_name, request.model_version) == ("classifier", "3")
    (image,), (output,) = request.inputs, request.outputs
    assert (image.name, image.datatype, list(image.shape)) == ("IMAGE", "BYTES", [1, 1])
    assert (output.name, output.parameters["classification"].int64_param) == ("PROBABILITIES", 5)
    assert request.parameters["timeout"].int64_param == 1_500_000
    assert list(request.raw_input_contents) == [b"\x06\x00\x00\x00\xff\xd8jpeg"]


def test_reply_is_split_into_its_elements() -> None:
    raw = b"\x05\x00\x00\x000.5:1\x07\x00\x00\x000.5:0:a"
    reply = service_pb2.ModelInferResponse(raw_output_contents=[raw])
    assert elements_from_reply(reply) == [b"0.5:1", b"0.5:0:a"]


def test_messages_have_no_size_limit_and_pings_stay_below_what_triton_allows() -> None:
    options = dict(channel_options("gpu:8001"))
    assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == -1
    assert options["grpc.keepalive_time_ms"] > 300_000
    assert options["grpc.keepalive_permit_without_calls"] == 0
