"""The lane for large images: how much at once, in which order, and what happens beyond it."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
from PIL import Image

DEADLINE_S = 10


def test_budget_makes_wait_whoever_wants_more_than_is_left(large_images: ModuleType) -> None:
    budget = large_images.ByteBudget(100)
    taken = threading.Event()
    budget.take(60)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: (budget.take(50), taken.set()))
        assert not taken.is_set()
        budget.give_back(60)
        waiting.result(DEADLINE_S)

    assert taken.is_set()


def test_budget_is_given_in_turn(large_images: ModuleType) -> None:
    budget = large_images.ByteBudget(100)
    budget.take(60)
    order: list[str] = []

    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(lambda: (budget.take(1000), order.append("large"), budget.give_back(1000)))
        while not budget._queue:
            os.sched_yield()
        small = pool.submit(lambda: (budget.take(10), order.append("small")))  # would fit, but came later
        while len(budget._queue) < 2:
            os.sched_yield()
        budget.give_back(60)
        large.result(DEADLINE_S)
        small.result(DEADLINE_S)

    assert order == ["large", "small"]


def test_budget_lets_one_that_exceeds_it_work_alone(large_images: ModuleType) -> None:
    budget = large_images.ByteBudget(100)

    with budget.hold(1000), ThreadPoolExecutor(1) as pool:
        other = pool.submit(budget.take, 1)
        assert not other.done()
        budget.give_back(1000)
        other.result(DEADLINE_S)
        budget.take(0)
        budget.give_back(1)
        budget.take(1000)


def test_budget_is_given_back_when_the_work_fails(large_images: ModuleType) -> None:
    budget = large_images.ByteBudget(100)

    with pytest.raises(RuntimeError), budget.hold(100):
        raise RuntimeError

    budget.take(100)


def test_lane_decodes_at_once_only_what_fits_into_memory(large_images: ModuleType) -> None:
    lane = large_images.LargeImages(4, decoding_bytes=100, waiting_bytes=1000)
    lock = threading.Lock()
    at_once, most_at_once = 0, 0
    two = threading.Barrier(2)

    def work() -> None:
        nonlocal at_once, most_at_once
        with lock:
            at_once += 1
            most_at_once = max(most_at_once, at_once)
        two.wait(DEADLINE_S)  # only two together come past here
        with lock:
            at_once -= 1

    for _ in range(8):
        lane.submit(work, encoded_bytes=1, decoding_bytes=50)
    lane.close()

    assert most_at_once == 2


def test_lane_makes_the_model_wait_when_too_many_files_wait(large_images: ModuleType) -> None:
    lane = large_images.LargeImages(1, decoding_bytes=100, waiting_bytes=100)
    go_on = threading.Event()
    lane.submit(lambda: go_on.wait(DEADLINE_S) and None, encoded_bytes=60, decoding_bytes=1)
    done = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(lane.submit, done.set, encoded_bytes=60, decoding_bytes=1)
        assert not submitted.done()
        go_on.set()
        submitted.result(DEADLINE_S)
    lane.close()

    assert done.is_set()


def image_of(preprocessing: ModuleType, mode: str, image_format: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    Image.new(mode, (4096, 2048)).save(file, image_format, **options)
    return preprocessing.open_image(file.getvalue())


@pytest.mark.parametrize(
    ("mode", "image_format", "options", "bytes_a_pixel"),
    [
        ("RGB", "PNG", {}, 4),
        ("L", "PNG", {}, 1),
        ("RGBA", "PNG", {}, 8),
        ("P", "GIF", {}, 5),
        ("RGB", "WEBP", {}, 16),
        ("RGB", "JPEG", {}, 4 / 16),  # a quarter of either side: 1024x512, not below twice 256
        ("L", "JPEG", {}, 1 / 16),
        ("CMYK", "JPEG", {}, 8 / 16),
        ("RGB", "JPEG", {"progressive": True}, 4 / 16 + 6),
    ],
)
def test_memory_for_decoding_is_that_of_the_format_and_mode(
    preprocessing: ModuleType, mode: str, image_format: str, options: dict[str, object], bytes_a_pixel: float
) -> None:
    image = image_of(preprocessing, mode, image_format, **options)

    assert preprocessing.decoding_bytes(image, resize_short_side=256) == 4096 * 2048 * bytes_a_pixel
