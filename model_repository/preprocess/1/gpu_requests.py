"""The GPU's share of some requests in; responses with pixels on the device out, and what is left for the CPU.

Called by model.py. A request whose images the GPU does all is answered with its part of the batch, where that lies. In
one that the CPU has a share in, the GPU's pixels are copied down to the CPU's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .answers import Answer
from .gpu_preprocessing import GpuPreprocessor
from .jpeg_header import JpegHeader


@dataclass(frozen=True)
class GpuJob:
    """One image that the GPU is to decode, and where its pixels belong.

    Attributes:
        image_bytes: a JPEG.
        header: what `GpuPreprocessor.header` read of it.
        answer: the request's.
        position: which of the request's images it is.
    """

    image_bytes: bytes
    header: JpegHeader
    answer: Answer
    position: int


def answer_on_gpu(
    gpu: GpuPreprocessor, jobs: Sequence[GpuJob], *, to_host: bool
) -> tuple[dict[int, pb_utils.InferenceResponse], list[GpuJob]]:
    """Do all jobs, those of one request next to each other, as one batch.

    Args:
        gpu: makes the pixels.
        jobs: of any number of requests.
        to_host: hand the pixels to Triton in ordinary memory.

    Returns:
        Responses by the request's index, for requests that the GPU did whole; and the jobs that it refused.
    """
    try:
        pixels, refused = gpu([job.image_bytes for job in jobs], [job.header for job in jobs])
        host = gpu.device.host_copy(pixels) if to_host else None
    except Exception as fault:  # out of memory, say: the CPU needs none of the GPU's
        pb_utils.Logger.log_warn(f"preprocess: the GPU failed for {len(jobs)} images, which the CPU decodes: {fault!r}")
        return {}, list(jobs)
    responses = {}
    for rows in rows_by_request(jobs):
        answer = jobs[rows.start].answer
        if len(rows) == answer.image_count and refused.isdisjoint(rows):
            own = (pixels if host is None else host)[rows.start : rows.stop]
            responses[answer.request_index] = pb_utils.InferenceResponse([pixels_tensor(own)])
            continue
        for row in rows:
            if row not in refused:
                own = gpu.device.host_copy(pixels[row : row + 1]) if host is None else host[row : row + 1]
                answer.pixels[jobs[row].position] = own[0]
                answer.image_is_done(jobs[row].position)
    return responses, [jobs[row] for row in sorted(refused)]


def rows_by_request(jobs: Sequence[GpuJob]) -> Iterator[range]:
    """The rows of each request, in order."""
    start = 0
    for _, group in groupby(jobs, key=lambda job: job.answer.request_index):
        stop = start + len(list(group))
        yield range(start, stop)
        start = stop


def pixels_tensor(pixels: Any) -> pb_utils.Tensor:
    """PIXELS as Triton takes them: an array in ordinary memory is copied, one on a device handed over."""
    if isinstance(pixels, np.ndarray):
        return pb_utils.Tensor("PIXELS", pixels)
    return pb_utils.Tensor.from_dlpack("PIXELS", pixels)
