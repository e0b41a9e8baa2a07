"""What the two classifiers have in common: the settings that they take. Called by: both of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from . import _flows
from ._calls import AsyncTransport, Transport
from ._config import DEFAULT_DEADLINE_S, DEFAULT_MODEL, DEFAULT_RETRIES, DEFAULT_URL, Compression, Settings
from ._preparing import Preparing
from ._shared_memory import require_shared_memory
from ._tls import TLS

TransportT = TypeVar("TransportT", Transport, AsyncTransport)


class Client(ABC, Generic[TransportT]):
    """Settings, a transport that was made from them, and what is known of the server."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        model: str = DEFAULT_MODEL,
        model_version: str = "",
        deadline_s: float = DEFAULT_DEADLINE_S,
        retries: int = DEFAULT_RETRIES,
        tls: TLS | bool = False,
        token: str | Callable[[], str] | None = None,
        headers: Mapping[str, str] | None = None,
        compression: Compression | None = None,
        shrink: bool = False,
        allow_urls: bool = False,
        shared_memory: bool = False,
        transport: TransportT | None = None,
    ) -> None:
        settings = Settings(
            url=url,
            model=model,
            model_version=model_version,
            deadline_s=deadline_s,
            retries=retries,
            tls=tls,
            token=token,
            headers=headers,
            compression=compression,
            shared_memory=shared_memory,
        )
        if shared_memory:
            require_shared_memory(url)
        self._preparing = Preparing(shrink, allow_urls)
        self._transport: TransportT = self._made_transport(settings) if transport is None else transport
        self._state = _flows.ClientState(settings, self._transport.now_s)

    @abstractmethod
    def _made_transport(self, settings: Settings) -> TransportT:
        """GRPC to the server of ``settings``."""
