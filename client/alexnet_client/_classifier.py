"""The blocking client. In: images. Out: predictions. Called by: applications and the command line."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from . import _flows, _health, _many
from ._calls import Transport
from ._client import Client
from ._config import DEFAULT_CONCURRENCY, DEFAULT_TOP_K, Settings, checked_count
from ._drivers import run
from ._errors import AlexNetClientError
from ._images import ImageInput, image_name
from ._predictions import EmbeddingResult, Prediction, Result
from ._status import ServerStatus

if TYPE_CHECKING:
    import numpy
    import numpy.typing


class Classifier(Client[Transport]):
    """A client of one Triton server, or of several that serve the same; safe to share between threads.

    Nothing is sent before the first call. The first classification also reads the model's metadata and
    compares it with what this client expects.

    Example:
        >>> with Classifier("localhost:8001") as classifier:
        ...     best, *_ = classifier.classify("cat.jpg")
        ...     print(best.label, best.score)

    Args:
        url: ``"host:port"`` of the gRPC service; several, separated by commas, are used in turn and a dead
            one is left out; ``"dns:///name:port"`` does so for every address of a name.
        model: Name of the ensemble.
        model_version: Its version; ``""`` for the one that the server chooses.
        deadline_s: Seconds for one call, tries and pauses included.
        retries: Tries after the first one while the server is unreachable or the model not ready.
        tls: ``True`` for a server whose certificate comes from a public authority, ``TLS(...)`` for others and
            for a client that has to show a certificate of its own.
        token: Sent as ``authorization: Bearer ...`` with every call; a function is asked for it each time. It is
            refused without ``tls``, unless the server is on this machine.
        headers: Further headers of every call, such as that of Triton's ``--grpc-restricted-protocol``:
            ``{"triton-grpc-protocol-inference": "secret"}``.
        compression: ``"gzip"`` or ``"deflate"``; pays for BMP and uncompressed TIFF on a slow line, not for JPEG.
        shrink: Send images whose short side is 1,024 pixels or longer as JPEGs of 512 to 1,023, upright and
            without metadata; on average it moves less than a percent of the probability (docs/client.md has figures).
            Needs Pillow. All others are sent as they are.
        allow_urls: Download images given as ``"https://..."`` or ``"http://..."``. Never set this for addresses
            that strangers can choose: this process then asks whatever host they name, those that only it can reach
            included (an intranet, ``localhost``, a cloud's metadata service), also by way of a redirect, and tells
            them by its errors what answered.
        shared_memory: Hand images over in memory that the server has mapped, instead of through the connection; for a
            server on this host that sees the same /dev/shm. docs/client.md says from what size on it pays.
        transport: Instead of gRPC to ``url``; for tests.

    Raises:
        InvalidSetting: An argument cannot be meant.
    """

    def _made_transport(self, settings: Settings) -> Transport:
        from ._transport import GrpcTransport  # imports gRPC, several times as slow as all the rest

        return GrpcTransport(settings)

    def classify(
        self, image: ImageInput, top_k: int = DEFAULT_TOP_K, *, deadline_s: float | None = None
    ) -> list[Prediction]:
        """The ``top_k`` best predictions for one image, best first; fewer if there are fewer classes.

        Args:
            image: Path, encoded bytes, binary file, RGB array (H, W, 3) uint8, PIL image, or with
                ``allow_urls`` the address of an image on the web.
            top_k: How many predictions, at least 1.
            deadline_s: Seconds for this call; None for the client's own.

        Raises:
            InvalidImage: The image cannot be read here, or decoded there.
            DeadlineExceeded: No answer in time.
            AlexNetClientError: Anything else; see the errors of this package.
        """
        checked_count("top_k", top_k)
        deadline = self._state.deadline(deadline_s)
        image_bytes = self._preparing.image_bytes_from(image, deadline)
        return run(_flows.classify(self._state, image_bytes, top_k, deadline), self._transport)

    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        top_k: int = DEFAULT_TOP_K,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        raise_errors: bool = False,
        deadline_s: float | None = None,
    ) -> Generator[Result, None, None]:
        """Classify any number of images, ``concurrency`` at a time, in memory that does not grow with them.

        Args:
            images: Read lazily, in the caller's thread, a few images ahead of the results.
            top_k: How many predictions an image, at least 1.
            concurrency: How many images are under way at once.
            ordered: Give the results in the order of the images; otherwise as they come.
            raise_errors: Raise the first failed image's error; otherwise it is that image's result.
            deadline_s: Seconds for each image; None for the client's own.

        Raises:
            InvalidSetting: An argument cannot be meant.
        """
        checked_count("top_k", top_k)
        checked_count("concurrency", concurrency)
        self._state.deadline(deadline_s)  # refused now, not in every result

        def classify_one(image: ImageInput, index: int) -> Result:
            started_s = self._transport.now_s()
            predictions: list[Prediction] = []
            error = None
            try:
                predictions = self.classify(image, top_k, deadline_s=deadline_s)
            except AlexNetClientError as caught:
                error = caught
            elapsed_s = self._transport.now_s() - started_s
            return Result(image_name(image, index), index, tuple(predictions), error, elapsed_s)

        return _many.classify_many(
            classify_one, images, concurrency=concurrency, ordered=ordered, raise_errors=raise_errors
        )

    def embeddings(self, image: ImageInput, *, deadline_s: float | None = None) -> numpy.typing.NDArray[numpy.float32]:
        """The embedding of one image, (D,) float32: what the network's last layer sees of it, after the ReLU.

        Images that look alike have embeddings that point the same way (cosine similarity). D is 4096 for AlexNet.

        Args:
            image: As in ``classify``.
            deadline_s: Seconds for this call; None for the client's own.

        Raises:
            ProtocolMismatch: The server's repository was built without ``--embeddings``.
            AlexNetClientError: As in ``classify``.
        """
        deadline = self._state.deadline(deadline_s)
        image_bytes = self._preparing.image_bytes_from(image, deadline)
        return run(_flows.embeddings(self._state, image_bytes, deadline), self._transport)

    def embeddings_many(
        self,
        images: Iterable[ImageInput],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        raise_errors: bool = False,
        deadline_s: float | None = None,
    ) -> Generator[EmbeddingResult, None, None]:
        """Embed any number of images: ``classify_many`` with an embedding in place of the predictions.

        Args:
            images: As in ``classify_many``, and so are the other arguments.
            concurrency: How many images are under way at once.
            ordered: Give the results in the order of the images; otherwise as they come.
            raise_errors: Raise the first failed image's error; otherwise it is that image's result.
            deadline_s: Seconds for each image; None for the client's own.

        Raises:
            InvalidSetting: An argument cannot be meant.
        """
        checked_count("concurrency", concurrency)
        self._state.deadline(deadline_s)  # refused now, not in every result

        def embed_one(image: ImageInput, index: int) -> EmbeddingResult:
            started_s = self._transport.now_s()
            embedding = error = None
            try:
                embedding = self.embeddings(image, deadline_s=deadline_s)
            except AlexNetClientError as caught:
                error = caught
            elapsed_s = self._transport.now_s() - started_s
            return EmbeddingResult(image_name(image, index), index, embedding, error, elapsed_s)

        return _many.classify_many(
            embed_one, images, concurrency=concurrency, ordered=ordered, raise_errors=raise_errors
        )

    def labels(self, *, deadline_s: float | None = None) -> list[str]:
        """Every label that the server can give, in the order of the network's output.

        Args:
            deadline_s: Seconds for this call; None for the client's own.

        Raises:
            ProtocolMismatch: The model is of another kind, or its labels are not those of its classes.
            AlexNetClientError: As in ``classify``.
        """
        return run(_flows.labels(self._state, self._state.deadline(deadline_s)), self._transport)

    def status(self, *, deadline_s: float | None = None) -> ServerStatus:
        """The server's version and readiness, those of every model, and whether a test image is classified.

        With several addresses, they are asked in turn, and the answer is put together of what they said: to see
        one server, make a client for its address.

        Args:
            deadline_s: Seconds for all of it; None for the client's own.

        Raises:
            ServerUnreachable: None answers.
        """
        return run(_health.status(self._state, self._state.deadline(deadline_s)), self._transport)

    def wait(self, timeout_s: float) -> None:
        """Return once the ensemble and every model in it are ready and a test image comes back classified.

        Args:
            timeout_s: Seconds to wait, above 0.

        Raises:
            DeadlineExceeded: Not within ``timeout_s`` seconds; the message names the last obstacle.
        """
        run(_health.wait(self._state, self._state.deadline(timeout_s)), self._transport)

    def close(self) -> None:
        """Cancel what is under way and hang up; later calls raise ``Cancelled``."""
        run(_flows.release(self._state), self._transport)
        self._transport.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
