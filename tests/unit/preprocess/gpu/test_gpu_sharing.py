"""A request that GPU and CPU share, each in a thread of its own: one answer, one set of pixels."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

SHAPE = (4, 4, 3)
AT_ONCE = 8


@pytest.fixture
def answers(model: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """answers.py, with what Triton gives its models played by namespaces."""
    triton = ModuleType("triton_python_backend_utils")
    triton.Tensor = lambda name, pixels: pixels  # type: ignore[attr-defined]
    triton.InferenceResponse = lambda tensors: tensors[0]  # type: ignore[attr-defined]
    triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, triton.__name__, triton)
    module = model("answers")
    monkeypatch.setattr(module, "pb_utils", triton)
    return module


class Request:
    """A request that keeps what it is answered with; asked for its sender twice, it fails, as Triton's does."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self._senders = 0

    def get_response_sender(self) -> Any:
        self._senders += 1
        time.sleep(0.01)
        assert self._senders == 1
        return SimpleNamespace(send=lambda response, flags: self.sent.append(response))


def test_threads_that_come_together_write_to_the_same_pixels(
    answers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_empty(*arguments: Any) -> np.ndarray:
        time.sleep(0.02)
        return np.zeros(*arguments)

    monkeypatch.setattr(answers, "np", SimpleNamespace(empty=slow_empty, uint8=np.uint8, ndarray=np.ndarray))
    request, together = Request(), threading.Barrier(AT_ONCE)
    answer = answers.Answer(0, request, AT_ONCE, SHAPE)

    def write(position: int) -> None:
        together.wait()
        answer.take_over()
        answer.pixels[position] = position + 1
        answer.image_is_done(position)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(write, range(AT_ONCE)))

    assert len(request.sent) == 1
    assert request.sent[0][:, 0, 0, 0].tolist() == list(range(1, AT_ONCE + 1))


def test_lane_that_is_taken_makes_the_next_batch_wait(model: Callable) -> None:
    gpus = [object(), object()]
    lanes = model("gpu_lanes").GpuLanes(gpus)
    leave, begun = threading.Event(), []

    def work(gpu: Any) -> Any:
        begun.append(gpu)
        leave.wait(10)
        return gpu

    first = [lanes.submit(work) for _ in gpus]
    with ThreadPoolExecutor(1) as thread:
        third = thread.submit(lanes.submit, work)
        time.sleep(0.1)
        waited = not third.done()
        leave.set()
        last = third.result()

    assert waited
    assert {id(outcome.result()) for outcome in first} == set(map(id, gpus))
    assert last.result() in gpus
    lanes.close()


def test_lane_is_free_again_after_work_that_failed(model: Callable) -> None:
    lanes = model("gpu_lanes").GpuLanes([object()])

    def fail(gpu: Any) -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        lanes.submit(fail).result()

    assert lanes.submit(lambda gpu: "done").result() == "done"
    lanes.close()
