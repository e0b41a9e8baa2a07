"""One request's images in, one after the other and from any thread; its response out, with pixels or with faults.

Called by model.py and gpu_requests.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .image_preprocessing import ImageError

# So many faults are named in one reply; the rest is counted.
MAX_NAMED_FAULTS = 5


class Answer:
    """One request's pixels while they are made; the response goes out with the last of them.

    Args:
        request_index: which of the requests of one call it is.
        request: what is answered.
        image_count: N, the images of the request.
        pixels_shape: (S, S, 3).
    """

    def __init__(
        self, request_index: int, request: pb_utils.InferenceRequest, image_count: int, pixels_shape: tuple
    ) -> None:
        self.request_index = request_index
        self.image_count = image_count
        self._pixels_shape = pixels_shape
        self._request = request
        self._sender: pb_utils.InferenceResponseSender | None = None
        self._faults: list[Exception | None] = [None] * image_count
        self._missing = image_count
        self._pixels: np.ndarray | None = None
        self._lock = threading.Lock()

    @property
    def pixels(self) -> np.ndarray:
        """(N, S, S, 3) uint8, to be written to; made when the CPU has a share in them."""
        with self._lock:  # whoever comes second writes to the same ones
            if self._pixels is None:
                self._pixels = np.empty((self.image_count, *self._pixels_shape), np.uint8)
            return self._pixels

    def take_over(self) -> None:
        """Send the response from here instead of returning it; to be said before `execute` returns.

        A request whose sender was asked for may not be answered by what `execute` returns.
        """
        with self._lock:
            if self._sender is None:
                self._sender = self._request.get_response_sender()

    def image_is_done(self, position: int, fault: Exception | None = None) -> None:
        """Note that an image's pixels are written, or why not; may be called from any thread."""
        with self._lock:
            self._faults[position] = fault
            self._missing -= 1
            if self._missing > 0:
                return
        self.send()

    def send(self) -> None:
        """Send what there is; never raises."""
        self._send_what(lambda: response_from_pixels(self.pixels, self._faults))

    def send_pixels(self, pixels: Any) -> None:
        """Send pixels, (N, S, S, 3) uint8, that lie elsewhere, on a device say, as all of the answer; never raises."""
        self._send_what(lambda: response_with(pixels))

    def _send_what(self, response: Callable[[], pb_utils.InferenceResponse]) -> None:
        """Make a response and send it; whatever goes wrong, the other requests of the call are to go on.

        Pixels can fail to go out, when shared memory is full say; then that is the answer, which needs none.
        """
        self.take_over()
        try:
            self._send(response())
        except Exception as fault:
            pb_utils.Logger.log_error(f"preprocess: a response could not be sent: {fault!r}")
            error = pb_utils.TritonError(f"preprocessing failed: {fault!r}", pb_utils.TritonError.INTERNAL)
            try:
                self._send(pb_utils.InferenceResponse(error=error))
            except Exception as second_fault:  # the request is gone: nobody is left to be told
                pb_utils.Logger.log_error(f"preprocess: a request went without an answer: {second_fault!r}")

    def _send(self, response: pb_utils.InferenceResponse) -> None:
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def response_from_pixels(pixels: np.ndarray, faults: list[Exception | None]) -> pb_utils.InferenceResponse:
    """Build one request's response: its pixels, the caller's faults, or ours.

    Args:
        pixels: (N, S, S, 3) uint8.
        faults: N entries, None where the image was read.
    """
    found = [(position, fault) for position, fault in enumerate(faults) if fault is not None]
    if not found:
        return response_with(pixels)
    ours = [(position, fault) for position, fault in found if not isinstance(fault, ImageError)]
    code = pb_utils.TritonError.INTERNAL if ours else pb_utils.TritonError.INVALID_ARG
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(describe(ours or found, len(faults)), code))


def response_with(pixels: Any) -> pb_utils.InferenceResponse:
    """A response of pixels, (N, S, S, 3) uint8: an array in ordinary memory is copied, one on a device handed over."""
    if isinstance(pixels, np.ndarray):
        return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", pixels)])
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("PIXELS", pixels)])


def describe(faults: list[tuple[int, Exception]], image_count: int) -> str:
    """Say what was wrong with which image; positions count from 0, and a lone image has none."""
    sentences = []
    for position, fault in faults[:MAX_NAMED_FAULTS]:
        reason = str(fault) if isinstance(fault, ImageError) else f"preprocessing failed: {fault!r}"
        sentences.append(reason if image_count == 1 else f"image {position} of {image_count}: {reason}")
    if len(faults) > MAX_NAMED_FAULTS:
        sentences.append(f"and {len(faults) - MAX_NAMED_FAULTS} more")
    return "; ".join(sentences)
