"""What every way of running the network offers: the classes ``Session`` and ``Pending``.

In: (N, S, S, 3) uint8 pixels. Out: (N, C) float32 probabilities, at once or later. Implemented by ``OnnxSession`` and
``DeviceSession``; used by verify, inspect, and whoever wants answers without a server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self


class Pending(ABC):
    """One submitted batch. It belongs to this batch alone: results cannot be mixed up, in whatever order they come."""

    @abstractmethod
    def done(self) -> bool:
        """Whether ``result`` would return, or raise, without waiting."""

    @abstractmethod
    def result(self, timeout_s: float | None = None) -> np.ndarray:
        """Wait for the answer; it can be asked for again.

        Args:
            timeout_s: Longest wait; None waits as long as it takes.

        Returns:
            (N, C) float32 probabilities, an array that nobody else writes to.

        Raises:
            TimeoutError: The answer is not there yet; asking again later is fine.
            EngineError: The batch failed.
        """


class Session(ABC):
    """A loaded network. Every method may be called from several threads at once.

    Attributes:
        max_batch: Largest batch that one ``submit`` takes.
        classes: Number of classes C.
        image_size: Side S of the pixels.
    """

    max_batch: int
    classes: int
    image_size: int

    @abstractmethod
    def submit(self, pixels: np.ndarray) -> Pending:
        """Start a batch and return without waiting for its answer.

        At most a fixed number of batches are in flight; where all places are taken, this waits for the oldest.

        Args:
            pixels: (N, S, S, 3) uint8 with N from 1 to ``max_batch``. They are copied before this returns.

        Raises:
            ValueError: Wrong shape or type, or a batch that is too large.
            EngineError: The session is closed. What goes wrong in the engine is raised by ``Pending.result``.
        """

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        """Answer a batch of any size; batches above ``max_batch`` are split, and their parts are in flight together.

        Args:
            pixels: (N, S, S, 3) uint8, N at least 1.

        Returns:
            (N, C) float32 probabilities.

        Raises:
            ValueError: Wrong shape or type.
            EngineError: The session is closed, or the batch failed.
        """
        self._check(pixels)
        parts = [self.submit(pixels[i : i + self.max_batch]) for i in range(0, len(pixels), self.max_batch)]
        answers = [part.result() for part in parts]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    @abstractmethod
    def close(self) -> None:
        """Wait for what is in flight, then free what the session holds. Results can still be read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, pixels: np.ndarray) -> None:
        """Refuse what is not a batch of pixels."""
        side = self.image_size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3) or not len(pixels):
            raise ValueError(
                f"pixels are {pixels.dtype} {pixels.shape}; expected uint8 (N, {side}, {side}, 3) with N at least 1"
            )

    def _check_batch(self, pixels: np.ndarray) -> None:
        """Refuse what ``submit`` cannot take in one piece."""
        self._check(pixels)
        if len(pixels) > self.max_batch:
            raise ValueError(
                f"a batch of {len(pixels)} is above the largest of this session, {self.max_batch}; "
                "infer() splits larger ones"
            )
