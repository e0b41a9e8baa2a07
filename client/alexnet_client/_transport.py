"""gRPC to Triton: the transports that a classifier uses unless it is given another.

In: a call and its seconds. Out: its reply, or an error of ``_errors.py``. Loaded by: the classifiers, when
one is made.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import grpc

from ._addresses import split_urls, target_from_url
from ._calls import Call
from ._channels import methods_of, open_channel
from ._config import Settings
from ._errors import AlexNetClientError, Cancelled, InvalidSetting
from ._headers import Headers
from ._rotation import Rotation
from ._statuses import error_from_status
from ._triton import CODECS


class Connection:
    """A channel for each address, opened together; ``module`` is ``grpc`` or ``grpc.aio``."""

    def __init__(self, module: Any, settings: Settings) -> None:
        urls = list(dict.fromkeys(split_urls(settings.url)))
        self.rotation = Rotation(urls, time.monotonic)
        self.channels = [open_channel(module, url, settings) for url in urls]
        self.methods = [methods_of(channel) for channel in self.channels]


class _GrpcClient:
    """What both transports know."""

    def __init__(self, settings: Settings) -> None:
        for url in split_urls(settings.url):
            target_from_url(url)  # so that a mistyped address is refused here
        self._settings = settings
        self._headers = Headers(settings.headers, settings.token)

    def now_s(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def _error(self, error: grpc.RpcError, call: Call) -> AlexNetClientError:
        settings = self._settings
        return error_from_status(
            error.code().name, error.details(), doing=call.doing, url=settings.url, tls=settings.tls
        )


class GrpcTransport(_GrpcClient):
    """Blocking calls, connected on first use; one connection for all threads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._connected: tuple[int, Connection] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def send(self, call: Call, timeout_s: float) -> Any:
        """Send ``call`` to the address whose turn it is and wait for the reply.

        Raises:
            AlexNetClientError: See the tables in ``_statuses.py``.
        """
        codec, connection = CODECS[type(call)], self._connection()
        endpoint, era = connection.rotation.next()
        method = connection.methods[endpoint.number][type(call)]
        request, metadata = codec.request_from(call, timeout_s), self._headers.metadata()
        try:
            reply = method(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise connection.rotation.failed(endpoint, era, self._error(error, call)) from error
        except ValueError:  # gRPC's answer to a call on a channel that another thread has just closed
            if not self._closed.is_set():
                raise
            raise Cancelled("the client was closed") from None
        connection.rotation.answered(endpoint, era)
        return codec.value_from(reply)

    def pause(self, seconds: float) -> None:
        """Wait ``seconds``; less if the transport is closed."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Cancel what is under way and hang up."""
        self._closed.set()
        with self._lock:
            if self._connected is not None:
                for channel in self._connected[1].channels:
                    channel.close()
                self._connected = None

    def _connection(self) -> Connection:
        connected = self._connected
        if connected is not None and connected[0] == os.getpid():
            return connected[1]
        with self._lock:
            if self._closed.is_set():
                raise Cancelled("the client was closed")
            # a forked process has its parent's channels without the threads that serve them: it connects anew
            if self._connected is None or self._connected[0] != os.getpid():
                self._connected = (os.getpid(), Connection(grpc, self._settings))
            return self._connected[1]


class AsyncGrpcTransport(_GrpcClient):
    """The same for asyncio: connected in the event loop that uses it, and anew when another one does."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._connected: tuple[asyncio.AbstractEventLoop, Connection] | None = None
        self._closed = False

    async def send(self, call: Call, timeout_s: float) -> Any:
        """Send ``call`` to the address whose turn it is and wait for the reply.

        Raises:
            AlexNetClientError: See the tables in ``_statuses.py``.
        """
        codec, connection = CODECS[type(call)], self._connection()
        endpoint, era = connection.rotation.next()
        method = connection.methods[endpoint.number][type(call)]
        request, metadata = codec.request_from(call, timeout_s), self._headers.metadata()
        try:
            reply = await method(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise connection.rotation.failed(endpoint, era, self._error(error, call)) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            if not self._closed or (isinstance(error, asyncio.CancelledError) and task_is_cancelled()):
                raise
            raise Cancelled("the client was closed") from None
        connection.rotation.answered(endpoint, era)
        return codec.value_from(reply)

    async def pause(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Cancel what is under way and hang up."""
        self._closed = True
        if self._connected is not None:
            loop, connection = self._connected
            self._connected = None
            if not loop.is_closed():  # with its loop, a connection has ended already
                for channel in connection.channels:
                    await channel.close()

    def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._connected is not None and self._connected[0] is loop:
            return self._connected[1]
        if self._closed:
            raise Cancelled("the client was closed")
        if self._connected is not None and not self._connected[0].is_closed():
            raise InvalidSetting(
                "this AsyncClassifier belongs to another event loop, which still runs; make one in each loop"
            )
        self._connected = (loop, Connection(grpc.aio, self._settings))
        return self._connected[1]


def task_is_cancelled() -> bool:
    """Whether somebody asked the current task itself to end, not only gRPC its call; False before Python 3.11."""
    task = asyncio.current_task()
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0
