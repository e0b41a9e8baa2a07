"""What comes back: predictions of one image, and the result of one image among many.

In: an element of Triton's classification extension, ``b"value:index:label"``, or the content of an FP32 tensor. Out:
frozen dataclasses and NumPy arrays.
Called by: the flows, and everyone who uses this package.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._errors import AlexNetClientError, ProtocolMismatch

if TYPE_CHECKING:
    import numpy
    import numpy.typing


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class that the image may belong to.

    Attributes:
        label: Name of the class as the server's labels.txt has it; may be empty, may contain colons.
        index: Position of the class in the network's output, from 0.
        score: Probability in [0, 1], with the six decimals that the server sends.
    """

    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one image of ``classify_many``.

    Attributes:
        image: Name of the image: its path, or ``"image 7"`` for one without a name.
        index: Position in the input, from 0.
        predictions: Best first; empty if the image failed.
        error: Why it failed; None if it did not.
        latency_s: Seconds from reading the image to its answer, tries and pauses included.
    """

    image: str
    index: int
    predictions: tuple[Prediction, ...]
    error: AlexNetClientError | None
    latency_s: float


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """What became of one image of ``embeddings_many``.

    Attributes:
        image: Name of the image: its path, or ``"image 7"`` for one without a name.
        index: Position in the input, from 0.
        embedding: (D,) float32; None if the image failed.
        error: Why it failed; None if it did not.
        latency_s: Seconds from reading the image to its answer, tries and pauses included.
    """

    image: str
    index: int
    embedding: numpy.typing.NDArray[numpy.float32] | None
    error: AlexNetClientError | None
    latency_s: float


def embedding_from_content(content: bytes, width: int) -> numpy.typing.NDArray[numpy.float32]:
    """An embedding, (``width``,) float32, from the content of an FP32 tensor [1, ``width``]. It may be written to.

    Raises:
        ProtocolMismatch: The content has another length.
    """
    import numpy

    if len(content) != 4 * width:
        raise ProtocolMismatch(f"the server answered {len(content)} bytes where {width} numbers of 4 were expected")
    return numpy.frombuffer(content, "<f4").astype(numpy.float32)


def predictions_from_elements(elements: Iterable[bytes]) -> list[Prediction]:
    """Predictions from the elements of one image's reply, in their order (best first).

    Raises:
        ProtocolMismatch: An element is not ``value:index`` or ``value:index:label``.
    """
    return [_prediction_from_element(element) for element in elements]


def _prediction_from_element(element: bytes) -> Prediction:
    score, _, rest = element.decode("utf-8", errors="replace").partition(":")
    index, _, label = rest.partition(":")  # Triton leaves the second colon out when the label is empty
    try:
        return Prediction(label=label, index=int(index), score=float(score))
    except ValueError:
        raise ProtocolMismatch(f"the server answered {element!r} where value:index:label was expected") from None
