"""Triton glue of the preprocessing model: IMAGE, encoded files, in; PIXELS, (N, S, S, 3) uint8, out.

Loaded by Triton's Python backend, one process per instance. S comes from the config's output, what is
thought to be resized first from its parameters; what happens to one image is in image_preprocessing.py.

Config parameters: RESIZE_SHORT_SIDE (required), DECODE_THREADS (default: this instance's share of the
cores) and MAX_IMAGE_PIXELS.
"""

from __future__ import annotations

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils

from .image_preprocessing import MAX_IMAGE_PIXELS, ImageError, preprocess_into

# So many faults are named in one reply; the rest is counted.
MAX_NAMED_FAULTS = 5


class TritonPythonModel:
    """Decodes, resizes and crops every image of every request that Triton coalesced into one call."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the sizes and the number of threads from the model's config.

        Args:
            args: what the Python backend hands over; "model_config" is the config as JSON.

        Raises:
            pb_utils.TritonModelException: the config contradicts itself; the model then does not load.
        """
        # Pillow warns of every oddity in a damaged file, each time in other words; the reply says enough.
        warnings.filterwarnings("ignore", module="PIL")
        config = json.loads(args["model_config"])
        dims = [int(size) for size in pb_utils.get_output_config_by_name(config, "PIXELS")["dims"]]
        crop_size = dims[0]
        self.resize_short_side = int_parameter(config, "RESIZE_SHORT_SIDE")
        self.max_image_pixels = int_parameter(config, "MAX_IMAGE_PIXELS", default=MAX_IMAGE_PIXELS)
        if dims != [crop_size, crop_size, 3] or not 0 < crop_size <= self.resize_short_side:
            raise pb_utils.TritonModelException(
                f"preprocess/config.pbtxt: PIXELS has dims {dims}, expected [S, S, 3] with S at most "
                f"RESIZE_SHORT_SIDE, which is {self.resize_short_side}"
            )
        if not 0 < self.max_image_pixels <= MAX_IMAGE_PIXELS:
            raise pb_utils.TritonModelException(
                f"preprocess/config.pbtxt: MAX_IMAGE_PIXELS is {self.max_image_pixels}, "
                f"expected 1 to {MAX_IMAGE_PIXELS}"
            )
        self.pixels_shape = tuple(dims)  # (S, S, 3)
        instance_count = sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1
        cores = len(os.sched_getaffinity(0))
        threads = int_parameter(config, "DECODE_THREADS", default=max(1, cores // instance_count))
        # Pillow releases the GIL while it decodes and resizes; one thread would only add a hand-over.
        self.executor = ThreadPoolExecutor(threads, "decode") if threads > 1 else None

    def execute(self, requests: list) -> list:
        """Answer each request on its own: its pixels, or why one of its images has none.

        Args:
            requests: each with IMAGE, (N, 1) bytes; N differs from request to request.

        Returns:
            One response per request, in order: PIXELS, (N, S, S, 3) uint8, or an error.
        """
        jobs = []  # (image bytes, where its pixels go), every image of every request in one list
        batches = []  # one array of pixels per request
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
            pixels = np.empty((len(images), *self.pixels_shape), np.uint8)
            batches.append(pixels)
            jobs.extend(zip(images, pixels, strict=True))

        run = self.executor.map if self.executor and len(jobs) > 1 else map
        faults = iter(list(run(self.preprocess, jobs)))
        return [response_from_pixels(pixels, [next(faults) for _ in pixels]) for pixels in batches]

    def preprocess(self, job: tuple[bytes, np.ndarray]) -> Exception | None:
        """Write one image's pixels; return what went wrong instead of raising, so that the others go on."""
        image_bytes, pixels = job
        try:
            preprocess_into(
                image_bytes,
                pixels,
                resize_short_side=self.resize_short_side,
                max_image_pixels=self.max_image_pixels,
            )
        except Exception as fault:
            return fault
        return None

    def finalize(self) -> None:
        """Stop the threads; called once when the model unloads."""
        if self.executor:
            self.executor.shutdown(cancel_futures=True)


def response_from_pixels(pixels: np.ndarray, faults: list[Exception | None]) -> pb_utils.InferenceResponse:
    """Build one request's response: its pixels, the caller's faults, or ours.

    Args:
        pixels: (N, S, S, 3) uint8.
        faults: N entries, None where the image was read.
    """
    found = [(position, fault) for position, fault in enumerate(faults) if fault is not None]
    if not found:
        return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", pixels)])
    ours = [(position, fault) for position, fault in found if not isinstance(fault, ImageError)]
    code = pb_utils.TritonError.INTERNAL if ours else pb_utils.TritonError.INVALID_ARG
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(describe(ours or found, len(faults)), code))


def describe(faults: list[tuple[int, Exception]], image_count: int) -> str:
    """Say what was wrong with which image; positions count from 0, and a lone image has none."""
    sentences = []
    for position, fault in faults[:MAX_NAMED_FAULTS]:
        reason = str(fault) if isinstance(fault, ImageError) else f"preprocessing failed: {fault!r}"
        sentences.append(reason if image_count == 1 else f"image {position} of {image_count}: {reason}")
    if len(faults) > MAX_NAMED_FAULTS:
        sentences.append(f"and {len(faults) - MAX_NAMED_FAULTS} more")
    return "; ".join(sentences)


def int_parameter(config: dict, name: str, default: int | None = None) -> int:
    """Read a whole number from the config's parameters.

    Raises:
        pb_utils.TritonModelException: it is missing and has no default, or is not a whole number.
    """
    text = config.get("parameters", {}).get(name, {}).get("string_value")
    if text is None and default is not None:
        return default
    try:
        return int(text)
    except (TypeError, ValueError):
        raise pb_utils.TritonModelException(
            f"preprocess/config.pbtxt: parameter {name} is {text!r}, expected a whole number"
        ) from None
