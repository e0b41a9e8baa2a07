"""The command ``bench``: how fast a server classifies, and where the time goes.

In: images, or none for generated ones. Out: a line for each concurrency on stdout, as they are measured; the
latencies as a plot, where a terminal shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alexnet_client import _statistics
from alexnet_client._addresses import split_urls
from alexnet_client._async_classifier import AsyncClassifier
from alexnet_client._calls import AsyncTransport
from alexnet_client._config import Settings
from alexnet_client._drivers import run_async
from alexnet_client._errors import AlexNetClientError, InvalidImage, InvalidSetting
from alexnet_client._flows import ClientState
from alexnet_client._images import image_bytes_from, png_from_pixels
from alexnet_client._many import NOTHING_YET

from .bench_report import BenchWriter, bench_writer
from .connection import Connection
from .ending import stderr_console
from .load import Counters, Recorder, keep_busy
from .path_lists import own_stdin
from .paths import ImagePaths

# All images are held in memory, so that no disk is measured; more than this is not needed to vary the load.
LARGEST_ALBUM_BYTES = 256 << 20
GENERATED, GENERATED_SIZE = 4, (375, 500)  # height, width: the most frequent size in ImageNet


@dataclass(frozen=True)
class Album:
    """The images that are sent in turn.

    Attributes:
        images: Encoded image files.
        generated: Whether they were made here.
        left_out: How many paths were not read, because the others fill the memory set aside.
    """

    images: tuple[bytes, ...]
    generated: bool = False
    left_out: int = 0

    @property
    def mean_bytes(self) -> float:
        """Mean size of a file."""
        return sum(map(len, self.images)) / len(self.images)


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        concurrencies: Images under way at once, one run for each.
        seconds: How long each run is measured.
        warmup_s: Seconds before that.
        top_k: Labels asked for.
        deadline_s: Seconds for one image.
    """

    concurrencies: tuple[int, ...]
    seconds: float
    warmup_s: float
    top_k: int
    deadline_s: float


def bench_paths(arguments: list[str], plan: Plan, connection: Connection, *, format: str) -> int:
    """Measure and write; the number of images that failed.

    Raises:
        AlexNetClientError: An image cannot be read, or the server cannot be used at all.
        KeyboardInterrupt: After what was measured has been written.
    """
    album = album_from_paths(ImagePaths(arguments, own_stdin())) if arguments else generated_album()
    if album.left_out:
        limit = f"{LARGEST_ALBUM_BYTES >> 20} MiB"
        stderr_console().print(f"the first {len(album.images)} images are used; {album.left_out} exceed {limit}")
    from alexnet_client._transport import AsyncGrpcTransport

    transport = AsyncGrpcTransport(settings_from(connection, plan))
    return asyncio.run(bench(transport, album, plan, bench_writer(format), connection))


def settings_from(connection: Connection, plan: Plan) -> Settings:
    """A client that tries once: a second try would hide what is to be seen."""
    return Settings(**connection.keywords(), deadline_s=plan.deadline_s, retries=0)


async def bench(
    transport: AsyncTransport, album: Album, plan: Plan, writer: BenchWriter, connection: Connection
) -> int:
    """Measure every concurrency of ``plan`` and hand each to ``writer``; the number of images that failed."""
    state = ClientState(settings_from(connection, plan), transport.now_s)
    counted = len(split_urls(connection.url)) == 1  # of several servers, one would answer for all

    async def read_counters() -> Counters:
        if not counted:
            return None
        try:
            return await run_async(_statistics.statistics(state, state.deadline(None)), transport)
        except AlexNetClientError:  # a server may keep its counters to itself and classify all the same
            return None

    failed = 0
    async with AsyncClassifier(
        **connection.keywords(), deadline_s=plan.deadline_s, retries=0, transport=transport
    ) as classifier:
        status = await classifier.status()
        await classifier.labels()  # one clear error now, instead of the same one for every image
        writer.begin(status, album.images, generated=album.generated)
        try:
            for concurrency in plan.concurrencies:
                recorder = Recorder(concurrency, transport.now_s)
                try:
                    await keep_busy(
                        classifier,
                        album.images,
                        recorder,
                        concurrency=concurrency,
                        seconds=plan.seconds,
                        warmup_s=plan.warmup_s,
                        top_k=plan.top_k,
                        now_s=transport.now_s,
                        read_counters=read_counters,
                    )
                finally:  # also when it was interrupted
                    load = recorder.load()
                    if load is not None:
                        failed += load.failed
                        writer.write(load)
        finally:
            writer.end()
    return failed


def album_from_paths(paths: Iterable[object], largest_bytes: int = LARGEST_ALBUM_BYTES) -> Album:
    """The images of ``paths``, as many as fit.

    Raises:
        InvalidImage: One cannot be read, or there is none.
    """
    images: list[bytes] = []
    held = left_out = 0
    for path in paths:
        if path is NOTHING_YET:
            continue
        if held >= largest_bytes:
            left_out += 1
            continue
        images.append(image_bytes_from(path))  # type: ignore[arg-type]  # the sentinel is gone
        held += len(images[-1])
    if not images:
        raise InvalidImage("there is no image to send", hint="Name image files, or leave them out for generated ones")
    return Album(tuple(images), left_out=left_out)


def generated_album() -> Album:
    """Four different images, always the same: soft colours with a little grain, of the size of a photograph."""
    import numpy as np

    height, width = GENERATED_SIZE
    down, across = np.mgrid[0:height, 0:width]
    random = np.random.default_rng(0)
    images = []
    for number in range(1, GENERATED + 1):
        waves = [np.sin(across * number / 90 + shift) + np.cos(down * number / 70 - shift) for shift in range(3)]
        colours = 128 + 50 * np.stack(waves, axis=-1)  # (H, W, 3), 28 to 228
        grain = random.integers(0, 4, (height, width, 1))
        # steps of 16 with the grain inside them: compresses to about the size of a JPEG of such a photograph
        images.append(png_from_pixels((colours // 16 * 16 + grain).astype(np.uint8)))
    return Album(tuple(images), generated=True)


def counts_from_text(text: str) -> tuple[int, ...]:
    """Whole numbers from 1, separated by commas.

    Raises:
        InvalidSetting: They are not.
    """
    parts: Sequence[str] = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidSetting(f"concurrency is {text!r}; expected whole numbers from 1, such as 1,8,32")
    return tuple(int(part) for part in parts)
