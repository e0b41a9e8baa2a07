"""The blocking client. In: images. Out: predictions. Called by: applications and the command line."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import TracebackType

from . import _flows, _health, _many
from ._calls import Transport
from ._config import (
    DEFAULT_CONCURRENCY,
    DEFAULT_DEADLINE_S,
    DEFAULT_MODEL,
    DEFAULT_RETRIES,
    DEFAULT_TOP_K,
    DEFAULT_URL,
    Settings,
    checked_count,
)
from ._drivers import run
from ._errors import AlexNetClientError
from ._images import ImageInput, image_bytes_from, image_name
from ._predictions import Prediction, Result
from ._status import ServerStatus


class Classifier:
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
        transport: Instead of gRPC to ``url``; for tests.

    Raises:
        InvalidSetting: An argument cannot be meant.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        model: str = DEFAULT_MODEL,
        model_version: str = "",
        deadline_s: float = DEFAULT_DEADLINE_S,
        retries: int = DEFAULT_RETRIES,
        transport: Transport | None = None,
    ) -> None:
        settings = Settings(url, model, model_version, deadline_s, retries)
        if transport is None:
            from ._transport import GrpcTransport  # imports gRPC, several times as slow as all the rest

            transport = GrpcTransport(url)
        self._transport = transport
        self._state = _flows.ClientState(settings, transport.now_s)

    def classify(
        self, image: ImageInput, top_k: int = DEFAULT_TOP_K, *, deadline_s: float | None = None
    ) -> list[Prediction]:
        """The ``top_k`` best predictions for one image, best first; fewer if there are fewer classes.

        Args:
            image: Path, encoded bytes, binary file, RGB array (H, W, 3) uint8, or PIL image.
            top_k: How many predictions, at least 1.
            deadline_s: Seconds for this call; None for the client's own.

        Raises:
            InvalidImage: The image cannot be read here, or decoded there.
            DeadlineExceeded: No answer in time.
            AlexNetClientError: Anything else; the tree is at the top of ``_errors.py``.
        """
        checked_count("top_k", top_k)
        deadline = self._state.deadline(deadline_s)
        image_bytes = image_bytes_from(image)
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

    def labels(self, *, deadline_s: float | None = None) -> list[str]:
        """Every label that the server can give, in the order of the network's output."""
        return run(_flows.labels(self._state, self._state.deadline(deadline_s)), self._transport)

    def status(self, *, deadline_s: float | None = None) -> ServerStatus:
        """The server's version and readiness, those of every model, and whether a test image is classified.

        With several addresses, one of the servers answers.

        Raises:
            ServerUnreachable: None answers.
        """
        return run(_health.status(self._state, self._state.deadline(deadline_s)), self._transport)

    def wait(self, timeout_s: float) -> None:
        """Return once the ensemble and every model in it are ready and a test image comes back classified.

        Raises:
            DeadlineExceeded: Not within ``timeout_s`` seconds; the message names the last obstacle.
        """
        run(_health.wait(self._state, self._state.deadline(timeout_s)), self._transport)

    def close(self) -> None:
        """Cancel what is under way and hang up; later calls raise ``Cancelled``."""
        self._transport.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
