"""What a client does, step by step, without saying how: shared by the sync and the async classifier.

A flow is a generator. It yields ``Send`` and ``Pause`` and is resumed with the reply or the error, so the
same lines serve both worlds; ``_drivers.py`` has the two loops that run them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from ._calls import Infer, ReadMetadata
from ._config import Settings, checked_seconds
from ._contract import Contract, contract_from_metadata
from ._errors import ProtocolMismatch
from ._predictions import Prediction, predictions_from_elements
from ._retry import Deadline, Step, send

ValueT = TypeVar("ValueT")
Flow = Generator[Step, Any, ValueT]

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
        elements = yield from send(infer, deadline, retries)
    except ProtocolMismatch:
        state.contract = None  # another model took the name: its metadata is read again next time
        raise
    return predictions_from_elements(elements)


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
        raise ProtocolMismatch(f"the server answered {len(by_index)} of {class_count} classes", url=state.settings.url)
    return [prediction.label for prediction in by_index]


def read_contract(state: ClientState, deadline: Deadline, retries: int) -> Flow[Contract]:
    """The ensemble's contract, read from the server the first time.

    Raises:
        ProtocolMismatch: The model is not an ensemble of the expected tensors.
    """
    if state.contract is None:
        read = ReadMetadata(state.settings.model, state.settings.model_version)
        metadata = yield from send(read, deadline, retries)
        state.contract = contract_from_metadata(metadata, url=state.settings.url)
    return state.contract
