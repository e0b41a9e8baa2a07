"""gRPC to Triton: the transports that a classifier uses unless it is given another.

In: a call and its seconds. Out: its reply, or an error of ``_errors.py``. Loaded by: the classifiers, when
one is made; with ``_triton.py`` the only module that imports grpc and tritonclient.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import Any

import grpc

from ._addresses import is_loopback, target_from_url
from ._calls import Call
from ._errors import Cancelled, error_from_status
from ._triton import CODECS, SERVICE

# Triton allows a ping every 300 s (--grpc-http2-min-recv-ping-interval-without-data) and hangs up on a client
# that sends more. The ping's timeout is also how long data may stay unacknowledged on a living connection.
KEEPALIVE_S = 310
KEEPALIVE_TIMEOUT_S = 20
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def channel_options(url: str) -> list[tuple[str, Any]]:
    """GRPC's channel arguments for ``url``."""
    return [
        ("grpc.max_send_message_length", -1),  # -1: no limit; an image is as large as it is
        ("grpc.max_receive_message_length", -1),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.service_config", ROUND_ROBIN),  # every address of the target in turn, dead ones left out
        ("grpc.enable_retries", 0),  # tries are counted against the deadline in one place, _retry.py
        ("grpc.initial_reconnect_backoff_ms", 100),  # a restarted server is found again quickly
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_http_proxy", 0 if is_loopback(url) else 1),
    ]


def methods_of(channel: Any) -> dict[type, Any]:
    """What to call for each kind of call: a function of the serialized request that gives the reply."""
    return {
        kind: channel.unary_unary(f"/{SERVICE}/{codec.method}", response_deserializer=codec.reply_type.FromString)
        for kind, codec in CODECS.items()
    }


class GrpcTransport:
    """Blocking calls on one channel, connected on first use and shared by all threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._options = channel_options(url)  # reads the address, so that a mistyped one is refused here
        self._connected: tuple[int, grpc.Channel, dict[type, Any]] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def now_s(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def send(self, call: Call, timeout_s: float) -> Any:
        """Send ``call`` and wait for its reply.

        Raises:
            AlexNetClientError: See the table in ``_errors.py``.
        """
        codec, method = CODECS[type(call)], self._methods()[type(call)]
        try:
            reply = method(codec.request_from(call, timeout_s), timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_from_status(error.code().name, error.details(), doing=call.doing, url=self._url) from error
        except ValueError:  # gRPC's answer to a call on a channel that another thread has just closed
            if not self._closed.is_set():
                raise
            raise Cancelled("the client was closed") from None
        return codec.value_from(reply)

    def pause(self, seconds: float) -> None:
        """Wait ``seconds``; less if the transport is closed."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Cancel what is under way and hang up."""
        self._closed.set()
        with self._lock:
            if self._connected is not None:
                self._connected[1].close()
                self._connected = None

    def _methods(self) -> dict[type, Any]:
        connected = self._connected
        if connected is not None and connected[0] == os.getpid():
            return connected[2]
        with self._lock:
            if self._closed.is_set():
                raise Cancelled("the client was closed")
            # a forked process has its parent's channel without the threads that serve it: it connects anew
            if self._connected is None or self._connected[0] != os.getpid():
                channel = grpc.insecure_channel(target_from_url(self._url), self._options)
                self._connected = (os.getpid(), channel, methods_of(channel))
            return self._connected[2]


class AsyncGrpcTransport:
    """The same for asyncio: one channel, made in the event loop that first uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._options = channel_options(url)
        self._connected: tuple[grpc.aio.Channel, dict[type, Any]] | None = None
        self._closed = False

    def now_s(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    async def send(self, call: Call, timeout_s: float) -> Any:
        """Send ``call`` and wait for its reply.

        Raises:
            AlexNetClientError: See the table in ``_errors.py``.
        """
        codec, method = CODECS[type(call)], (await self._methods())[type(call)]
        try:
            reply = await method(codec.request_from(call, timeout_s), timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_from_status(error.code().name, error.details(), doing=call.doing, url=self._url) from error
        except (grpc.aio.UsageError, asyncio.CancelledError):
            if not self._closed:
                raise
            raise Cancelled("the client was closed") from None
        return codec.value_from(reply)

    async def pause(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Cancel what is under way and hang up."""
        self._closed = True
        if self._connected is not None:
            await self._connected[0].close()
            self._connected = None

    async def _methods(self) -> dict[type, Any]:
        if self._closed:
            raise Cancelled("the client was closed")
        if self._connected is None:
            # resolving names blocks: in a thread
            target = await asyncio.to_thread(target_from_url, self._url)
            if self._connected is None:  # two tasks may have come here together
                channel = grpc.aio.insecure_channel(target, self._options)
                self._connected = (channel, methods_of(channel))
        return self._connected[1]
