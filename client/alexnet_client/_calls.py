"""The words between the flows and a transport: what can be asked of a server, and what it answers.

A flow yields ``Send``, ``Pause`` and ``Wait``; a transport carries them out. Nothing here knows gRPC, so a test can be
a transport with a few lines of plain Python.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class SharedImage:
    """Where an image lies instead of in a request: the first ``byte_size`` bytes of a registered region.

    They are an element of a BYTES tensor: its length, 4 bytes little-endian, and the encoded image.
    """

    region: str
    byte_size: int


@dataclass(frozen=True, slots=True)
class Infer:
    """Classify one encoded image. Reply: ``list[bytes]``, ``class_count`` elements ``value:index:label``."""

    model: str
    version: str
    image_bytes: bytes | SharedImage
    class_count: int
    doing = "classify an image"


@dataclass(frozen=True, slots=True)
class Embed:
    """Embed one encoded image. Reply: ``bytes``, D numbers of 4 bytes, float32, little-endian."""

    model: str
    version: str
    image_bytes: bytes | SharedImage
    doing = "embed an image"


@dataclass(frozen=True, slots=True)
class RegisterSharedMemory:
    """Let the server open a file of /dev/shm, of that ``name``, as a region of that name. Reply: None."""

    name: str
    byte_size: int
    doing = "register shared memory"


@dataclass(frozen=True, slots=True)
class UnregisterSharedMemory:
    """Let the server close a region. Reply: None."""

    name: str
    doing = "unregister shared memory"


@dataclass(frozen=True, slots=True)
class ReadMetadata:
    """Read a model's tensors and versions. Reply: ``ModelMetadata``."""

    model: str
    version: str = ""
    doing = "read the model's metadata"


@dataclass(frozen=True, slots=True)
class ReadComposingModels:
    """Read which models an ensemble is composed of. Reply: ``tuple[str, ...]``, in the ensemble's order."""

    model: str
    version: str = ""
    doing = "read the ensemble's configuration"


@dataclass(frozen=True, slots=True)
class ReadStatistics:
    """Read what a model has done. Reply: ``tuple[ModelStatistics, ...]``, one for each version asked for."""

    model: str
    version: str = ""
    doing = "read the model's statistics"


@dataclass(frozen=True, slots=True)
class ReadServer:
    """Read the server's name and version. Reply: ``tuple[str, str]``."""

    doing = "read the server's version"


@dataclass(frozen=True, slots=True)
class IsServerLive:
    """Ask for liveness. Reply: ``bool``."""

    doing = "ask whether the server is live"


@dataclass(frozen=True, slots=True)
class IsServerReady:
    """Ask for readiness. Reply: ``bool``."""

    doing = "ask whether the server is ready"


@dataclass(frozen=True, slots=True)
class IsModelReady:
    """Ask whether one model is ready. Reply: ``bool``; False for a model that the server does not have."""

    model: str
    version: str = ""
    doing = "ask whether a model is ready"


Call = (
    Infer
    | Embed
    | RegisterSharedMemory
    | UnregisterSharedMemory
    | ReadMetadata
    | ReadComposingModels
    | ReadStatistics
    | ReadServer
    | IsServerLive
    | IsServerReady
    | IsModelReady
)


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """A tensor of a model: its name, its KServe datatype (``BYTES``, ``FP32``), its shape (-1: any)."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model says of itself."""

    name: str
    platform: str
    versions: tuple[str, ...]
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What one version of a model has done since it was loaded.

    Attributes:
        name: Name of the model.
        version: Its version.
        images: Images that were inferred; a batch of 8 is 8.
        executions: Batches that were inferred.
        requests: Requests that succeeded.
        total_s: Seconds from the arrival of those requests to their answers, added up.
        queue_s: Seconds that requests waited, added up.
        compute_s: Seconds that requests were computed, input and output included, added up: the seconds of a
            batch count once for each of its requests.
    """

    name: str
    version: str
    images: int
    executions: int
    requests: int
    total_s: float
    queue_s: float
    compute_s: float


@dataclass(frozen=True, slots=True)
class Send:
    """A flow's wish: send ``call`` and hand its reply back, within ``timeout_s`` seconds."""

    call: Call
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A flow's wish: be resumed after ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A flow's wish: be resumed when ``turn`` is done, or after ``seconds``."""

    turn: Future[None]
    seconds: float


class Transport(Protocol):
    """The outside world of ``Classifier``: a server and a clock. Used by several threads at once."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back."""

    def send(self, call: Call, timeout_s: float) -> Any:
        """Send ``call``; its reply, or an ``AlexNetClientError``, within ``timeout_s`` seconds."""

    def pause(self, seconds: float) -> None:
        """Return after ``seconds``, or at once when the transport is closed."""

    def close(self) -> None:
        """End every open call and let the connection go. Closing twice is allowed."""


class AsyncTransport(Protocol):
    """The outside world of ``AsyncClassifier``; the methods mean what they mean in ``Transport``."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back."""

    async def send(self, call: Call, timeout_s: float) -> Any:
        """Send ``call``; its reply, or an ``AlexNetClientError``, within ``timeout_s`` seconds."""

    async def pause(self, seconds: float) -> None:
        """Return after ``seconds``."""

    async def close(self) -> None:
        """End every open call and let the connection go. Closing twice is allowed."""
