"""What a server says of itself: its version, and the readiness of each model that an image passes through."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model: the ensemble itself or one that it is composed of.

    Attributes:
        name: Name in the model repository.
        versions: Versions that are being served, as the server lists them.
        ready: Whether the model says that it is ready.
    """

    name: str
    versions: tuple[str, ...]
    ready: bool


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
