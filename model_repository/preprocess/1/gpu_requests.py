"""The GPU's share of some requests in; its pixels out, and what is left for the CPU.

Called by model.py. A request whose images the GPU does all gets its part of the batch, where that lies. In one that the
CPU has a share in, the GPU's pixels are copied down to the CPU's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

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


@dataclass(frozen=True)
class GpuShare:
    """What became of a batch on the GPU.

    Attributes:
        whole: requests that the GPU did all of, each with its pixels, (N, S, S, 3) uint8: in ordinary memory, they are
            valid until the same GPU path's next batch.
        refused: what is left for the CPU.
    """

    whole: list[tuple[Answer, Any]]
    refused: list[GpuJob]


def preprocess_on_gpu(gpu: GpuPreprocessor, jobs: Sequence[GpuJob], *, to_host: bool) -> GpuShare:
    """Do all jobs, those of one request next to each other, as one batch; never raises.

    Args:
        gpu: makes the pixels.
        jobs: of any number of requests.
        to_host: the pixels are to lie in ordinary memory, where Triton fetches them.
    """
    requests = list(rows_by_request(jobs))
    try:
        pixels, refused = gpu([job.image_bytes for job in jobs], [job.header for job in jobs])
        shared = [rows for rows in requests if not refused.isdisjoint(rows) or len(rows) < image_count(jobs, rows)]
        host = gpu.device.host_copy(pixels) if to_host or shared else None
        if host is None:
            gpu.device.synchronize()  # Triton copies the pixels on a stream of its own
    except Exception as fault:  # out of memory, say: the CPU needs none of the GPU's
        pb_utils.Logger.log_warn(f"preprocess: the GPU failed for {len(jobs)} images, which the CPU decodes: {fault!r}")
        return GpuShare([], list(jobs))
    whole = []
    for rows in requests:
        answer = jobs[rows.start].answer
        if rows not in shared:
            whole.append((answer, (host if to_host else pixels)[rows.start : rows.stop]))
            continue
        for row in rows:
            if row not in refused:
                answer.pixels[jobs[row].position] = host[row]
                answer.image_is_done(jobs[row].position)
    return GpuShare(whole, [jobs[row] for row in sorted(refused)])


def image_count(jobs: Sequence[GpuJob], rows: range) -> int:
    """How many images the request of these rows has, the CPU's among them."""
    return jobs[rows.start].answer.image_count


def rows_by_request(jobs: Sequence[GpuJob]) -> Iterator[range]:
    """The rows of each request, in order."""
    start = 0
    for _, group in groupby(jobs, key=lambda job: job.answer.request_index):
        stop = start + len(list(group))
        yield range(start, stop)
        start = stop
