"""What a client does, step by step, without saying how: shared by the sync and the async classifier.

A flow is a generator. It yields ``Send``, ``Pause`` and ``Wait`` and is resumed with the reply or the error, so the
same lines serve both worlds; ``_drivers.py`` has the two loops that run them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ._admission import Traffic
from ._calls import Embed, Infer, ReadMetadata
from ._config import Settings, checked_seconds
from ._contract import Contract, contract_from_metadata
from ._errors import ProtocolMismatch
from ._predictions import Prediction, embedding_from_content, predictions_from_elements
from ._regions import Regions
from ._retry import Deadline, Step, send
from ._shared_memory import release as release_regions
from ._shared_memory import send_shared

if TYPE_CHECKING:
    import numpy
    import numpy.typing

ValueT = TypeVar("ValueT")
Flow = Generator[Step, Any, ValueT]

# To unregister all shared memory when a client is closed; a server that hangs does not hold it longer.
RELEASE_S = 2.0
# A real image that every decoder takes: 16x16, mid-grey, PNG (png_from_pixels wrote it).
TEST_IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000100000001008000000003a98a0bd00000012494441547801636840030c"
    "68fc8691250000050c800109b62ee50000000049454e44ae426082"
)


@dataclass
class ClientState:
    """One client's settings, its clock, and what it has learnt of the server.

    ``contract`` is read once. Two threads may read it at the same time; they read the same.
    """

    settings: Settings
    now_s: Callable[[], float]
    contract: Contract | None = None
    _traffic: tuple[int, Traffic] = field(default_factory=lambda: (os.getpid(), Traffic()))
    _regions: tuple[int, Regions] | None = None

    @property
    def traffic(self) -> Traffic:
        """What the calls of this client share; a forked process begins anew, for its parent's calls are not its own."""
        if self._traffic[0] != os.getpid():
            self._traffic = (os.getpid(), Traffic())
        return self._traffic[1]

    @property
    def regions(self) -> Regions:
        """Shared memory for images; a forked process has its own, for both write to what they share."""
        regions = self._regions
        if regions is None or regions[0] != os.getpid():
            self._regions = regions = (os.getpid(), Regions())
        return regions[1]

    def deadline(self, deadline_s: float | None) -> Deadline:
        """A deadline that starts now, ``deadline_s`` or else the client's own seconds long.

        Raises:
            InvalidSetting: ``deadline_s`` is not a number of seconds above 0.
        """
        seconds = self.settings.deadline_s if deadline_s is None else checked_seconds("deadline_s", deadline_s)
        return Deadline(seconds, self.now_s, url=self.settings.url)


def classify(
    state: ClientState,
    image_bytes: bytes,
    top_k: int | None,
    deadline: Deadline,
    *,
    retries: int | None = None,
) -> Flow[list[Prediction]]:
    """Predictions for one encoded image, best first.

    Args:
        state: The client's settings and what it has learnt.
        image_bytes: An encoded image file.
        top_k: How many predictions; None, or more than there are classes, for all of them.
        deadline: When it must be over.
        retries: Tries after the first one; None for the client's setting.
    """
    retries = state.settings.retries if retries is None else retries
    contract = yield from read_contract(state, deadline, retries)
    class_count = contract.class_count if top_k is None else min(top_k, contract.class_count)
    infer = Infer(state.settings.model, state.settings.model_version, image_bytes, class_count)
    try:
        elements = yield from _send_image(state, infer, deadline, retries)
    except ProtocolMismatch:
        state.contract = None  # another model took the name: its metadata is read again next time
        raise
    return predictions_from_elements(elements)


def embeddings(state: ClientState, image_bytes: bytes, deadline: Deadline) -> Flow[numpy.typing.NDArray[numpy.float32]]:
    """The embedding of one encoded image, (D,) float32.

    Raises:
        ProtocolMismatch: The repository was built without embeddings.
    """
    contract = yield from read_contract(state, deadline, state.settings.retries)
    if contract.embedding_width is None:
        state.contract = None  # read again next time: the server may have been given another repository meanwhile
        raise ProtocolMismatch(
            f"the model {state.settings.model!r} at {state.settings.url} gives no embeddings",
            hint="Build its repository anew, with: alexnet-build repository --engine onnxruntime --embeddings "
            "--output DIR",
        )
    embed = Embed(state.settings.model, state.settings.model_version, image_bytes)
    try:
        content = yield from _send_image(state, embed, deadline, state.settings.retries)
        return embedding_from_content(content, contract.embedding_width)
    except ProtocolMismatch:
        state.contract = None  # another model took the name: its metadata is read again next time
        raise


def _send_image(state: ClientState, call: Infer | Embed, deadline: Deadline, retries: int) -> Flow[Any]:
    if state.settings.shared_memory:
        return (yield from send_shared(state.regions, call, deadline, retries, state.traffic))
    return (yield from send(call, deadline, retries, state.traffic))


def release(state: ClientState) -> Flow[None]:
    """Give back what the server holds for this client; called before the transport is closed."""
    if state.settings.shared_memory:
        yield from release_regions(state.regions, state.deadline(RELEASE_S))


def labels(state: ClientState, deadline: Deadline) -> Flow[list[str]]:
    """Every label, in the order of the network's output.

    They come from the server: one test image, as many classes as there are, sorted by index.

    Raises:
        ProtocolMismatch: The answer does not have each index once.
    """
    predictions = yield from classify(state, TEST_IMAGE, None, deadline)
    by_index = sorted(predictions, key=lambda prediction: prediction.index)
    class_count = (yield from read_contract(state, deadline, 0)).class_count
    if [prediction.index for prediction in by_index] != list(range(class_count)):
        state.contract = None  # other weights may have been published meanwhile: read again next time
        raise ProtocolMismatch(
            f"the server's labels are not those of {class_count} classes, each once", url=state.settings.url
        )
    return [prediction.label for prediction in by_index]


def read_contract(state: ClientState, deadline: Deadline, retries: int) -> Flow[Contract]:
    """The ensemble's contract, read from the server the first time.

    Raises:
        ProtocolMismatch: The model is not an ensemble of the expected tensors.
    """
    if state.contract is None:
        read = ReadMetadata(state.settings.model, state.settings.model_version)
        metadata = yield from send(read, deadline, retries, state.traffic)
        state.contract = contract_from_metadata(metadata, url=state.settings.url)
    return state.contract
