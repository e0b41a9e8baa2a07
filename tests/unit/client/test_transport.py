"""The transports over real gRPC, against a server in this process that says what it is told to."""

from __future__ import annotations

import asyncio
import multiprocessing
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import grpc
import pytest
from alexnet_client import (
    AlexNetClientError,
    AsyncClassifier,
    Cancelled,
    Classifier,
    DeadlineExceeded,
    InvalidImage,
    InvalidSetting,
    _statuses,
)
from alexnet_client import _calls as calls
from alexnet_client._channels import channel_options
from alexnet_client._config import Settings
from alexnet_client._contract import Contract
from alexnet_client._transport import AsyncGrpcTransport, GrpcTransport
from alexnet_client._triton import CODECS, elements_from_reply, infer_request, statistics_from_reply, varint
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
    transport = AsyncGrpcTransport(Settings(url))
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
    transport = GrpcTransport(Settings(url))
    for send in (
        lambda: transport.send(IMAGE, GIVE_UP_S),
        lambda: asyncio.run(send_async(url, IMAGE, GIVE_UP_S)),
    ):
        with pytest.raises(AlexNetClientError) as caught:
            send()
        assert type(caught.value) is _statuses.ERROR_FROM_STATUS[code.name]
        assert caught.value.status == code.name
        assert "the reason" in caught.value.message
        assert "in ensemble" not in caught.value.message
    transport.close()


def test_silent_server_is_given_up_at_the_deadline_in_both_worlds(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code = None
    transport = GrpcTransport(Settings(url))
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
    transport = GrpcTransport(Settings(url))
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(transport.send, IMAGE, GIVE_UP_S)
        assert servicer.arrived.wait(GIVE_UP_S)
        transport.close()
        with pytest.raises(Cancelled):
            under_way.result(timeout=GIVE_UP_S / 2)


def test_close_ends_a_pause() -> None:
    transport = GrpcTransport(Settings("127.0.0.1:1"))
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
    transport = GrpcTransport(Settings(url))
    with pytest.raises(InvalidImage):  # connected before the fork
        transport.send(IMAGE, GIVE_UP_S)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=refused_in_child, args=(transport, answers))
    child.start()
    assert answers.get(timeout=GIVE_UP_S) == "not an image"
    child.join(GIVE_UP_S)
    with pytest.raises(InvalidImage):
        transport.send(IMAGE, GIVE_UP_S)
    transport.close()


@pytest.mark.parametrize("length", [1, 123, 124, 110_000, 3_000_000])
def test_request_carries_one_image_the_class_count_and_the_queue_timeout_in_microseconds(length: int) -> None:
    image_bytes = bytes(length)
    call = calls.Infer("classifier", "3", image_bytes, 5)
    request = service_pb2.ModelInferRequest.FromString(infer_request(call, timeout_s=1.5))
    expected = service_pb2.ModelInferRequest(model_name="classifier", model_version="3")
    expected.parameters["timeout"].int64_param = 1_500_000
    expected.inputs.add(name="IMAGE", datatype="BYTES", shape=[1, 1])
    expected.outputs.add(name="PROBABILITIES").parameters["classification"].int64_param = 5
    expected.raw_input_contents.append(struct.pack("<I", length) + image_bytes)
    assert request == expected


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (150, b"\x96\x01"), (1 << 21, b"\x80\x80\x80\x01")],
)
def test_varint_has_seven_bits_a_byte_the_lowest_first(number: int, encoded: bytes) -> None:
    assert varint(number) == encoded


def test_every_call_has_its_method_of_the_service() -> None:
    assert set(CODECS) == set(get_args(calls.Call))
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for codec in CODECS.values():
        assert methods[codec.method].output_type.full_name == codec.reply_type.DESCRIPTOR.full_name


def test_statistics_are_added_up_in_seconds() -> None:
    reply = service_pb2.ModelStatisticsResponse()
    model = reply.model_stats.add(name="alexnet", version="2", inference_count=64, execution_count=4)
    model.inference_stats.success.count, model.inference_stats.success.ns = 60, 5_000_000_000
    model.inference_stats.queue.ns = 1_500_000_000
    model.inference_stats.compute_input.ns = 250_000_000
    model.inference_stats.compute_infer.ns = 3_000_000_000
    model.inference_stats.compute_output.ns = 250_000_000
    assert statistics_from_reply(reply) == (calls.ModelStatistics("alexnet", "2", 64, 4, 60, 5.0, 1.5, 3.5),)


def test_reply_is_split_into_its_elements() -> None:
    raw = b"\x05\x00\x00\x000.5:1\x07\x00\x00\x000.5:0:a"
    reply = service_pb2.ModelInferResponse(raw_output_contents=[raw])
    assert elements_from_reply(reply) == [b"0.5:1", b"0.5:0:a"]


def test_messages_have_no_size_limit_and_pings_stay_below_what_triton_allows() -> None:
    options = dict(channel_options(Settings(), "gpu:8001"))
    assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == -1
    assert options["grpc.keepalive_time_ms"] > 300_000
    assert options["grpc.keepalive_permit_without_calls"] == 0


def test_image_that_no_message_can_carry_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**31

    with pytest.raises(InvalidImage, match="2147483648 bytes; one request carries at most"):
        infer_request(calls.Infer("classifier", "", Huge(), 1), 1.0)


def test_async_client_works_in_several_event_loops_one_after_the_other(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code, servicer.words = grpc.StatusCode.INVALID_ARGUMENT, "not an image"
    transport = AsyncGrpcTransport(Settings(url))
    for _ in range(3):
        with pytest.raises(InvalidImage, match="not an image"):
            asyncio.run(transport.send(IMAGE, GIVE_UP_S))
    asyncio.run(transport.close())
    with pytest.raises(Cancelled, match="the client was closed"):
        asyncio.run(transport.send(IMAGE, GIVE_UP_S))


def test_async_client_in_two_event_loops_at_once_says_what_is_wrong(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code, servicer.words = grpc.StatusCode.INVALID_ARGUMENT, "not an image"
    transport = AsyncGrpcTransport(Settings(url))

    async def run() -> None:
        with pytest.raises(InvalidImage):
            await transport.send(IMAGE, GIVE_UP_S)
        with pytest.raises(InvalidSetting, match="belongs to another event loop, which still runs"):
            await asyncio.to_thread(asyncio.run, transport.send(IMAGE, GIVE_UP_S))
        await transport.close()

    asyncio.run(run())


def test_blocking_client_works_where_an_event_loop_runs_as_in_a_notebook(scripted: tuple[Scripted, str]) -> None:
    servicer, url = scripted
    servicer.code, servicer.words = grpc.StatusCode.INVALID_ARGUMENT, "not an image"

    async def cell() -> None:
        transport = GrpcTransport(Settings(url))
        with pytest.raises(InvalidImage, match="not an image"):
            transport.send(IMAGE, GIVE_UP_S)
        transport.close()

    asyncio.run(cell())


def test_other_address_answers_for_one_where_nobody_listens(
    scripted: tuple[Scripted, str], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, url = scripted
    servicer.code, servicer.words = grpc.StatusCode.INVALID_ARGUMENT, "not an image"
    with Classifier(f"127.0.0.1:1,{url},127.0.0.1:1", retries=0) as several:
        several._state.contract = Contract(class_count=1, versions=("1",))
        for _ in range(10):
            with pytest.raises(InvalidImage, match="not an image"):
                several.classify(b"image")
    (record,) = caplog.records
    assert record.getMessage().startswith("127.0.0.1:1 does not answer: ipv4:127.0.0.1:1: ")
    assert record.getMessage().endswith("Connection refused (UNAVAILABLE); 1 of 2 addresses are left")
