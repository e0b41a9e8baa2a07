"""The client for asyncio: the methods of ``Classifier``, to be awaited. Called by: applications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from . import _flows, _health, _many
from ._calls import AsyncTransport
from ._client import Client
from ._config import DEFAULT_CONCURRENCY, DEFAULT_TOP_K, Settings, checked_count
from ._drivers import run_async
from ._errors import AlexNetClientError
from ._images import ImageInput, image_name
from ._predictions import EmbeddingResult, Prediction, Result
from ._retry import Deadline
from ._status import ServerStatus

if TYPE_CHECKING:
    import numpy
    import numpy.typing


class AsyncClassifier(Client[AsyncTransport]):
    """``Classifier`` for asyncio: the same arguments, methods and errors.

    It works in one event loop at a time; several ``asyncio.run``, one after the other, may use it.

    Example:
        >>> async with AsyncClassifier("localhost:8001") as classifier:
        ...     async for result in classifier.classify_many(paths):
        ...         print(result.image, result.predictions)
    """

    def _made_transport(self, settings: Settings) -> AsyncTransport:
        from ._transport import AsyncGrpcTransport  # imports gRPC, several times as slow as all the rest

        return AsyncGrpcTransport(settings)

    async def classify(
        self, image: ImageInput, top_k: int = DEFAULT_TOP_K, *, deadline_s: float | None = None
    ) -> list[Prediction]:
        """The ``top_k`` best predictions for one image, best first; see ``Classifier.classify``."""
        checked_count("top_k", top_k)
        deadline = self._state.deadline(deadline_s)
        image_bytes = await self._image_bytes_from(image, deadline)
        return await run_async(_flows.classify(self._state, image_bytes, top_k, deadline), self._transport)

    def classify_many(
        self,
        images: Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        top_k: int = DEFAULT_TOP_K,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        raise_errors: bool = False,
        deadline_s: float | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Classify any number of images; see ``Classifier.classify_many``. ``images`` may be asynchronous."""
        checked_count("top_k", top_k)
        checked_count("concurrency", concurrency)
        self._state.deadline(deadline_s)  # refused now, not in every result

        async def classify_one(image: ImageInput, index: int) -> Result:
            started_s = self._transport.now_s()
            predictions: list[Prediction] = []
            error = None
            try:
                predictions = await self.classify(image, top_k, deadline_s=deadline_s)
            except AlexNetClientError as caught:
                error = caught
            elapsed_s = self._transport.now_s() - started_s
            return Result(image_name(image, index), index, tuple(predictions), error, elapsed_s)

        return _many.classify_many_async(
            classify_one, images, concurrency=concurrency, ordered=ordered, raise_errors=raise_errors
        )

    async def embeddings(
        self, image: ImageInput, *, deadline_s: float | None = None
    ) -> numpy.typing.NDArray[numpy.float32]:
        """The embedding of one image, (D,) float32; see ``Classifier.embeddings``."""
        deadline = self._state.deadline(deadline_s)
        image_bytes = await self._image_bytes_from(image, deadline)
        return await run_async(_flows.embeddings(self._state, image_bytes, deadline), self._transport)

    def embeddings_many(
        self,
        images: Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        raise_errors: bool = False,
        deadline_s: float | None = None,
    ) -> AsyncGenerator[EmbeddingResult, None]:
        """Embed any number of images; see ``Classifier.embeddings_many``. ``images`` may be asynchronous."""
        checked_count("concurrency", concurrency)
        self._state.deadline(deadline_s)  # refused now, not in every result

        async def embed_one(image: ImageInput, index: int) -> EmbeddingResult:
            started_s = self._transport.now_s()
            embedding = error = None
            try:
                embedding = await self.embeddings(image, deadline_s=deadline_s)
            except AlexNetClientError as caught:
                error = caught
            elapsed_s = self._transport.now_s() - started_s
            return EmbeddingResult(image_name(image, index), index, embedding, error, elapsed_s)

        return _many.classify_many_async(
            embed_one, images, concurrency=concurrency, ordered=ordered, raise_errors=raise_errors
        )

    async def labels(self, *, deadline_s: float | None = None) -> list[str]:
        """Every label that the server can give, in the order of the network's output."""
        return await run_async(_flows.labels(self._state, self._state.deadline(deadline_s)), self._transport)

    async def status(self, *, deadline_s: float | None = None) -> ServerStatus:
        """The server, its models, and whether a test image is classified; see ``Classifier.status``."""
        return await run_async(_health.status(self._state, self._state.deadline(deadline_s)), self._transport)

    async def wait(self, timeout_s: float) -> None:
        """Return once an image can be classified; see ``Classifier.wait``."""
        await run_async(_health.wait(self._state, self._state.deadline(timeout_s)), self._transport)

    async def close(self) -> None:
        """Cancel what is under way and hang up; later calls raise ``Cancelled``."""
        await run_async(_flows.release(self._state), self._transport)
        await self._transport.close()

    async def _image_bytes_from(self, image: ImageInput, deadline: Deadline) -> bytes:
        if self._preparing.blocks(image):  # reading, encoding, downloading
            return await asyncio.to_thread(self._preparing.image_bytes_from, image, deadline)
        return self._preparing.image_bytes_from(image, deadline)

    async def __aenter__(self) -> AsyncClassifier:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
