"""The HTTP load generator against a server that counts, and the sums over what it saw."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture
def load(benchmark_module):
    return benchmark_module("load")


class Answering:
    """An HTTP server that answers every POST with one status and remembers the bodies."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.bodies: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await read_head(reader):
            length = next(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length"))
            self.bodies.append(await reader.readexactly(length))
            writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        writer.close()


async def read_head(reader: asyncio.StreamReader) -> list[bytes]:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    except asyncio.IncompleteReadError:
        return []


async def sent(load, answering: Answering, jpegs: list[bytes]) -> None:
    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, load.http_senders(f"http://127.0.0.1:{port}/classify", 2) as senders:
        for jpeg in jpegs:
            for send in senders:
                await send(jpeg)


def test_http_sender_keeps_its_connection_and_sends_whole_files(load) -> None:
    answering, jpegs = Answering("200 OK"), [b"one", b"x" * 300_000]
    asyncio.run(sent(load, answering, jpegs))
    assert answering.bodies == [b"one", b"one", jpegs[1], jpegs[1]]
    assert answering.connections == 2


def test_http_sender_refuses_an_answer_that_is_not_200(load) -> None:
    with pytest.raises(ConnectionError, match="503 Busy"):
        asyncio.run(sent(load, Answering("503 Busy"), [b"one"]))


def test_load_counts_only_what_ended_while_it_was_measured(load, benchmark_module) -> None:
    clock = benchmark_module("usage").Clock
    begun = clock(wall_s=10.0, generator_s=1.0, server_s=5.0, machine_s=100.0)
    ended = clock(wall_s=14.0, generator_s=1.4, server_s=11.0, machine_s=107.2)
    finished = [(9.9, 9.0), (10.0, 0.1), (12.0, 0.2), (13.9, 0.3), (14.0, 8.0)]
    measured = load.load_between(begun, ended, finished, 1024)
    assert (measured.images, measured.seconds, measured.images_per_s) == (3, 4.0, 0.75)
    assert (measured.p50_s, measured.p99_s, measured.server_bytes) == (0.2, 0.3, 1024)
    cores = (measured.server_cores, measured.generator_cores, measured.other_cores)
    assert cores == pytest.approx((1.5, 0.1, 0.2))


def test_a_failed_request_ends_the_load_with_its_reason(load) -> None:
    async def refuse(jpeg: bytes) -> None:
        raise ConnectionError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        asyncio.run(load.keep_busy([refuse], [b"one"], seconds=60))
