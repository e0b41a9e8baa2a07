"""What a server says of itself: its version, and of each model that an image passes through, readiness and work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelWork:
    """What one model did in a stretch of time, a request's share of it in seconds.

    Attributes:
        model: Name of the model.
        requests: Requests that succeeded.
        images: Images in them.
        batch: Images in a batch, on average; of no meaning for an ensemble, which has no batches of its own.
        queue_s: Mean time that a request waited for its batch.
        compute_s: Mean time that its batch was computed, input and output included.
        total_s: Mean time from the request's arrival at the model to its answer.
    """

    model: str
    requests: int
    images: int
    batch: float
    queue_s: float
    compute_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model: the ensemble itself or one that it is composed of.

    Attributes:
        name: Name in the model repository.
        versions: Versions that are being served, as the server lists them.
        ready: Whether the model says that it is ready.
        work: What it has done since it was loaded; None if the server does not tell.
    """

    name: str
    versions: tuple[str, ...]
    ready: bool
    work: ModelWork | None = None


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server, as it answered.

    Attributes:
        url: The address that was asked.
        name: Name that the server gives itself, ``"triton"`` for Triton.
        version: Version of the server.
        live: Whether the server says that it is live.
        ready: Whether the server says that it is ready.
        models: The ensemble first, then the models that it is composed of, in its order.
        fault: What keeps it from classifying; None if a test image came back classified.
    """

    url: str
    name: str
    version: str
    live: bool
    ready: bool
    models: tuple[ModelStatus, ...]
    fault: str | None

    @property
    def serving(self) -> bool:
        """Whether everything is ready and a test image was classified."""
        return self.live and self.ready and all(model.ready for model in self.models) and self.fault is None
