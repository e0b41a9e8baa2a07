"""Regions: registered once, used again after an answer alone, and never left behind in /dev/shm."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alexnet_client import AsyncClassifier, Classifier, DeadlineExceeded, InvalidImage, InvalidSetting, ModelNotFound
from alexnet_client import _calls as calls
from alexnet_client._errors import ServerFault
from alexnet_client._regions import Regions
from alexnet_client._triton import CODECS, infer_request
from tritonclient.grpc import service_pb2 as pb

IMAGE = b"an image" * 1000


class MappingServer:
    """What a server does with shared memory: opens a region when it is registered, and reads images from it."""

    def __init__(self, transport) -> None:  # type: ignore[no-untyped-def]
        self.open: dict[str, int] = {}
        self.images: list[bytes] = []
        self.in_use: set[str] = set()
        self._answer = transport.on[calls.Infer]
        transport.on |= {
            calls.RegisterSharedMemory: self.register,
            calls.UnregisterSharedMemory: self.unregister,
            calls.Infer: self.infer,
        }

    def register(self, call: calls.RegisterSharedMemory) -> None:
        self.open[call.name] = os.open(f"/dev/shm/{call.name}", os.O_RDONLY)
        assert os.fstat(self.open[call.name]).st_size == call.byte_size

    def unregister(self, call: calls.UnregisterSharedMemory) -> None:
        if call.name in self.in_use:
            raise ServerFault("it is currently in use", status="INTERNAL")
        os.close(self.open.pop(call.name))

    def infer(self, call: calls.Infer) -> list[bytes]:
        assert isinstance(call.image_bytes, calls.SharedImage)
        if call.image_bytes.region not in self.open:
            raise ModelNotFound("Unable to find shared memory region: 'x'", status="NOT_FOUND")
        content = os.pread(self.open[call.image_bytes.region], call.image_bytes.byte_size, 0)
        assert int.from_bytes(content[:4], "little") == len(content) - 4
        self.images.append(content[4:])
        return self._answer(call)

    def restart(self) -> None:
        for descriptor in self.open.values():
            os.close(descriptor)
        self.open.clear()


@pytest.fixture
def mapping(transport) -> Iterator[MappingServer]:  # type: ignore[no-untyped-def]
    server = MappingServer(transport)
    yield server
    server.restart()


def left_behind() -> list[Path]:
    return list(Path("/dev/shm").glob(f"alexnet_client_{os.getpid()}_*"))


def kinds(transport) -> list[str]:  # type: ignore[no-untyped-def]
    return [type(call).__name__ for call in transport.sent if not isinstance(call, calls.ReadMetadata)]


def test_region_is_registered_once_used_again_and_unregistered_at_the_end(transport, mapping: MappingServer) -> None:  # type: ignore[no-untyped-def]
    with Classifier(transport=transport, shared_memory=True) as classifier:
        for image in (IMAGE, b"another", IMAGE):
            assert classifier.classify(image, top_k=1)[0].index == 2
            assert left_behind() == []  # its name is gone as soon as the server has opened it
    assert mapping.images == [IMAGE, b"another", IMAGE]
    assert kinds(transport) == ["RegisterSharedMemory", "Infer", "Infer", "Infer", "UnregisterSharedMemory"]
    assert mapping.open == {}


def test_async_classifier_shares_memory_too(async_transport) -> None:  # type: ignore[no-untyped-def]
    server = MappingServer(async_transport)

    async def classify() -> None:
        async with AsyncClassifier(transport=async_transport, shared_memory=True) as classifier:
            assert [result.error async for result in classifier.classify_many([IMAGE] * 5, concurrency=2)] == [None] * 5

    asyncio.run(classify())
    assert server.images == [IMAGE] * 5
    assert server.open == {}


def test_larger_image_gets_a_larger_region_in_place_of_the_smaller(transport, mapping: MappingServer) -> None:  # type: ignore[no-untyped-def]
    large = bytes(3_000_000)
    with Classifier(transport=transport, shared_memory=True) as classifier:
        for image in (IMAGE, large, IMAGE):
            classifier.classify(image)
        assert mapping.images == [IMAGE, large, IMAGE]
        registered = [call.byte_size for call in transport.sent if isinstance(call, calls.RegisterSharedMemory)]
        assert registered == [1 << 20, 1 << 22]
        assert len(mapping.open) == 1
    assert mapping.open == {}


def test_server_that_was_started_anew_gets_the_region_anew(transport, mapping: MappingServer) -> None:  # type: ignore[no-untyped-def]
    with Classifier(transport=transport, shared_memory=True) as classifier:
        classifier.classify(IMAGE)
        mapping.restart()
        classifier.classify(IMAGE)
    assert mapping.images == [IMAGE, IMAGE]
    assert kinds(transport)[:5] == ["RegisterSharedMemory", "Infer", "Infer", "RegisterSharedMemory", "Infer"]


def test_region_of_a_request_that_was_given_up_is_not_written_again(transport, mapping: MappingServer) -> None:  # type: ignore[no-untyped-def]
    with Classifier(transport=transport, shared_memory=True) as classifier:
        transport.fail(calls.Infer, DeadlineExceeded("late"))
        with pytest.raises(DeadlineExceeded):
            classifier.classify(IMAGE)
        (given_up,) = mapping.open
        mapping.in_use = {given_up}
        classifier.classify(b"another")
        infer = transport.sent[-1]
        assert infer.image_bytes.region != given_up
        assert os.pread(mapping.open[given_up], 4 + len(IMAGE), 0)[4:] == IMAGE
        mapping.in_use = set()
        classifier.classify(b"a third")
        assert given_up not in mapping.open  # let go of as soon as the server allows
    assert left_behind() == []


def test_refused_image_leaves_its_region_to_the_next(transport, mapping: MappingServer) -> None:  # type: ignore[no-untyped-def]
    with Classifier(transport=transport, shared_memory=True) as classifier:
        transport.fail(calls.Infer, InvalidImage("no image"))
        with pytest.raises(InvalidImage):
            classifier.classify(b"no image")
        classifier.classify(IMAGE)
    assert kinds(transport) == ["RegisterSharedMemory", "Infer", "Infer", "UnregisterSharedMemory"]


def test_server_that_cannot_open_the_region_is_an_error_and_nothing_stays(transport) -> None:  # type: ignore[no-untyped-def]
    def refuse(call: calls.RegisterSharedMemory) -> None:
        raise ServerFault(f"Unable to open shared memory region: '{call.name}'", status="INTERNAL")

    transport.on[calls.RegisterSharedMemory] = refuse
    with (
        Classifier("localhost:8001", transport=transport, shared_memory=True) as classifier,
        pytest.raises(InvalidSetting) as caught,
    ):
        classifier.classify(IMAGE)
    assert "the server at localhost:8001 does not share this machine's memory: Unable to open" in caught.value.message
    assert "docker run --ipc=host" in caught.value.hint
    assert left_behind() == []
    assert "Infer" not in kinds(transport)  # a request is not changed in silence


def test_full_shared_memory_is_an_error_and_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InvalidSetting, match=r"1048576 bytes of /dev/shm cannot be had \(No space left on device\)"):
        Regions().take(IMAGE)
    assert left_behind() == []


@pytest.mark.parametrize("url", ["a:8001,b:8001", "dns:///triton:8001"])
def test_several_servers_are_refused(transport, url: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidSetting, match="shared with one server"):
        Classifier(url, transport=transport, shared_memory=True)


def test_request_says_where_the_image_is_and_has_no_content() -> None:
    call = calls.Infer("classifier", "", calls.SharedImage("region", 123), 5)
    request = pb.ModelInferRequest.FromString(infer_request(call, 2.0))
    assert request.parameters["timeout"].int64_param == 2_000_000
    assert request.inputs[0].parameters["shared_memory_region"].string_param == "region"
    assert request.inputs[0].parameters["shared_memory_byte_size"].int64_param == 123
    assert request.outputs[0].parameters["classification"].int64_param == 5
    assert request.raw_input_contents == []
    register = CODECS[calls.RegisterSharedMemory].request_from(calls.RegisterSharedMemory("region", 4096), 1.0)
    assert pb.SystemSharedMemoryRegisterRequest.FromString(register).key == "region"
