"""Triton glue of the preprocessing model: IMAGE, encoded files, in; PIXELS, (N, S, S, 3) uint8, out.

Loaded by Triton's Python backend, one process per instance. S comes from the config's output, what is
thought to be resized first from its parameters; what happens to one image is in image_preprocessing.py.

Config parameters: RESIZE_SHORT_SIDE (required), DECODE_THREADS (default: this instance's share of the
cores), MAX_IMAGE_PIXELS, DEVICE (auto, cpu or gpu; default: auto), GPU_BATCHES (on a GPU at once; default: 2) and
HAND_OVER (host or device: where the GPU's pixels are handed to Triton; default: host).
"""

from __future__ import annotations

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import triton_python_backend_utils as pb_utils
from PIL import Image

from .answers import Answer, response_with
from .cuda_device import CudaDevice, DeviceError
from .device_choice import DEVICES, choose_device
from .gpu_lanes import GpuLanes
from .gpu_preprocessing import GpuPreprocessor
from .gpu_requests import GpuJob, preprocess_on_gpu
from .image_preprocessing import MAX_IMAGE_PIXELS, decoding_bytes, open_image, write_pixels
from .large_images import LargeImages, return_freed_memory
from .parameters import int_parameter, one_of

# From here on an image goes to the lane for large ones: decoding it takes some 40 ms of a core.
LARGE_IMAGE_PIXELS = 4_000_000
# Per instance: for images in the lane that are being decoded, and for the files of those that wait.
DECODING_BYTES = 512 << 20
WAITING_BYTES = 256 << 20
# A file that waits counts for so many at least, so that no more than 256 wait however small they are.
LEAST_WAITING_BYTES = 1 << 20
# On a GPU at once, per instance.
GPU_BATCHES = 2
# Sending a response takes as long as the GPU's share of several images, during which its batch has the GPU path; for
# requests of fewer images than this, returning all responses together is the faster way.
IMAGES_WORTH_SENDING = 8


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
        return_freed_memory()
        self.large_images = LargeImages(threads, decoding_bytes=DECODING_BYTES, waiting_bytes=WAITING_BYTES)
        self.gpu_lanes = self.open_gpu(config, args)
        self.to_host = one_of(config, "HAND_OVER", ("host", "device")) == "host"

    def open_gpu(self, config: dict, args: dict[str, str]) -> GpuLanes | None:
        """Choose between CPU and GPU and say so in the server's log; None is the CPU.

        Raises:
            pb_utils.TritonModelException: DEVICE asks for what is not here.
        """
        # An instance of KIND_CPU that finds a GPU takes the first.
        device_id = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else 0
        wanted = one_of(config, "DEVICE", DEVICES)
        batches = int_parameter(config, "GPU_BATCHES", default=GPU_BATCHES)
        if batches < 1:
            raise pb_utils.TritonModelException(
                f"preprocess/config.pbtxt: GPU_BATCHES is {batches}, expected 1 or more"
            )
        try:
            choice = choose_device(wanted, lambda: CudaDevice(self.pixels_shape[0], device_id=device_id), count=batches)
        except DeviceError as error:
            raise pb_utils.TritonModelException(f"preprocess/config.pbtxt: {error}") from error
        pb_utils.Logger.log_info(f"{args['model_instance_name']}: {choice.reason}")
        if not choice.gpus:
            return None
        return GpuLanes(
            [
                GpuPreprocessor(
                    gpu,
                    crop_size=self.pixels_shape[0],
                    resize_short_side=self.resize_short_side,
                    max_image_pixels=self.max_image_pixels,
                    warn=pb_utils.Logger.log_warn,
                )
                for gpu in choice.gpus
            ]
        )

    def execute(self, requests: list) -> list | None:
        """Answer each request on its own as soon as its images are done, those with the fewest pixels first.

        Small images are done when this returns. Large ones follow, while Triton already sends the next
        requests, so that nobody waits for another's panorama; and the GPU's, if requests have many.

        Args:
            requests: each with IMAGE, (N, 1) bytes; N differs from request to request. The response is
                PIXELS, (N, S, S, 3) uint8, or an error.

        Returns:
            The responses of requests that the GPU did whole, None in the places of the others.
        """
        jobs = []  # every image of every request in one list
        gpu_jobs = []
        for index, request in enumerate(requests):
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
            answer = Answer(index, request, len(images), self.pixels_shape)
            if not len(images):
                answer.send()
            for position, image_bytes in enumerate(images):
                if self.gpu_lanes and (header := self.gpu_lanes.header(image_bytes)):
                    gpu_jobs.append(GpuJob(image_bytes, header, answer, position))
                else:
                    jobs += self.open(image_bytes, answer, position)
        returned = None
        if self.gpu_lanes and gpu_jobs:
            if len(gpu_jobs) >= IMAGES_WORTH_SENDING * len(requests):
                for job in gpu_jobs:
                    job.answer.take_over()
                self.gpu_lanes.submit(partial(self.send_from_gpu, gpu_jobs))
            else:
                returned = self.gpu_lanes.submit(partial(self.return_from_gpu, gpu_jobs))
        self.answer_on_cpu(jobs)  # while the GPU does its share
        responses = returned.result() if returned else {}
        # What is None here is or will be sent by its answer.
        return [responses.get(index) for index in range(len(requests))] if responses else None

    def send_from_gpu(self, gpu_jobs: list[GpuJob], gpu: GpuPreprocessor) -> None:
        """Do the GPU's share of some requests and send it; the CPU does what it refuses."""
        share = preprocess_on_gpu(gpu, gpu_jobs, to_host=self.to_host)
        for answer, pixels in share.whole:
            answer.send_pixels(pixels)
        self.answer_on_cpu(self.opened(share.refused))

    def return_from_gpu(self, gpu_jobs: list[GpuJob], gpu: GpuPreprocessor) -> dict[int, pb_utils.InferenceResponse]:
        """The same, but return the responses, by the request's index."""
        share = preprocess_on_gpu(gpu, gpu_jobs, to_host=self.to_host)
        self.answer_on_cpu(self.opened(share.refused))
        return {answer.request_index: response_with(pixels) for answer, pixels in share.whole}

    def opened(self, refused: list[GpuJob]) -> list[Job]:
        """Open for the CPU what the GPU did not do."""
        return [job for r in refused for job in self.open(r.image_bytes, r.answer, r.position)]

    def answer_on_cpu(self, jobs: list[Job]) -> None:
        """Do the small images, the fewest pixels first, and send the large ones on to their lane."""
        small, large = by_size(jobs)
        run = self.executor.map if self.executor and len(jobs) > 1 else map
        for _ in run(self.preprocess, small):
            pass
        for job in large:
            self.large_images.submit(
                partial(self.preprocess, job),
                encoded_bytes=max(job.encoded_bytes, LEAST_WAITING_BYTES),
                decoding_bytes=decoding_bytes(job.image, resize_short_side=self.resize_short_side),
            )

    def open(self, image_bytes: bytes, answer: Answer, position: int) -> list[Job]:
        """Open one image for the CPU; without a job, it is no image, and its answer knows why."""
        answer.take_over()
        try:
            image = open_image(image_bytes, max_image_pixels=self.max_image_pixels)
        except Exception as fault:
            answer.image_is_done(position, fault)
            return []
        return [Job(image, len(image_bytes), answer, position)]

    def preprocess(self, job: Job) -> None:
        """Write one image's pixels; what goes wrong becomes a part of the answer, so that the others go on."""
        try:
            write_pixels(job.image, job.answer.pixels[job.position], resize_short_side=self.resize_short_side)
        except Exception as fault:
            job.image.close()  # its decoded pixels, too, which the job would keep to the end of the call
            job.answer.image_is_done(job.position, fault)
        else:
            job.image.close()
            job.answer.image_is_done(job.position)

    def finalize(self) -> None:
        """Finish what is under way and stop the threads; called once when the model unloads."""
        if self.gpu_lanes:
            self.gpu_lanes.close()
        self.large_images.close()
        if self.executor:
            self.executor.shutdown()


@dataclass(frozen=True)
class Job:
    """One image that is opened but not decoded, and where its pixels go.

    Attributes:
        image: of which only the header has been read.
        encoded_bytes: size of its file.
        answer: the request's.
        position: which of the request's images it is.
    """

    image: Image.Image
    encoded_bytes: int
    answer: Answer
    position: int

    @property
    def image_pixels(self) -> int:
        """Width times height, which is what decoding time goes by."""
        return self.image.width * self.image.height


def by_size(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Return the small images and the large ones, each from the fewest pixels to the most."""
    jobs = sorted(jobs, key=lambda job: job.image_pixels)
    small = [job for job in jobs if job.image_pixels <= LARGE_IMAGE_PIXELS]
    return small, jobs[len(small) :]
