"""The test that CUDA graphs have to pass, given answers that are really stale, mixed up or only rounded."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import pytest
from alexnet_build.tuning.alternating import Infer, alternating_answers, cases_with_answers
from alexnet_build.tuning.errors import TuningError
from alexnet_build.tuning.graphs import batch_sizes, batches
from alexnet_build.tuning.settings import Tuning

TOLERANCE = 1e-3
CLASSES = 7
INPUTS = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
SIZES = (1, 2, 3, 8)
_WEIGHTS = np.random.default_rng(1).normal(size=(48, CLASSES)) / 128


def answer(pixels: np.ndarray) -> np.ndarray:
    """(n, 4, 4, 3) uint8 to (n, 7) float32 probabilities."""
    scores = np.exp(pixels.reshape(len(pixels), -1).astype(np.float64) @ _WEIGHTS)
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32)


def stale(questions_old: int) -> Infer:
    """Answers the question that was asked this many questions of the same size ago."""
    earlier: dict[int, deque[np.ndarray]] = {}
    lock = threading.Lock()

    def infer(pixels: np.ndarray) -> np.ndarray:
        with lock:
            questions = earlier.setdefault(len(pixels), deque(maxlen=questions_old + 1))
            questions.append(pixels)
            return answer(questions[0])

    return infer


def alternate(infer: Infer):
    cases = cases_with_answers(answer, batches(INPUTS, SIZES), TOLERANCE)
    return alternating_answers(infer, cases, rounds=5, in_flight=4, tolerance=TOLERANCE)


def test_right_answers_pass_one_at_a_time_and_several_at_once() -> None:
    found = alternate(answer)
    assert (found.wrong, found.largest_difference, found.first_wrong) == (0, 0.0, "")
    assert found.answers >= 2 * 5 * len(SIZES) * 3


@pytest.mark.parametrize("questions_old", [1, 2, 3])
def test_stale_answers_are_noticed_however_old_they_are(questions_old: int) -> None:
    found = alternate(stale(questions_old))
    assert found.wrong > found.answers / 4
    assert "it is nearest to the answer to batch" in found.first_wrong
    assert "one at a time" in found.first_wrong


def test_answers_that_are_only_mixed_up_together_are_noticed() -> None:
    late = stale(1)

    def infer(pixels: np.ndarray) -> np.ndarray:
        alone = threading.current_thread() is threading.main_thread()
        return answer(pixels) if alone else late(pixels)

    found = alternate(infer)
    assert found.wrong > 0
    assert found.first_wrong.startswith("answer with several under way: ")


def test_one_stale_row_of_a_batch_is_noticed() -> None:
    def infer(pixels: np.ndarray) -> np.ndarray:
        probabilities = answer(pixels)
        if len(pixels) == 8:
            probabilities[7] = probabilities[0]
        return probabilities

    found = alternate(infer)
    assert "of 8 differs by" in found.first_wrong


def test_rounding_within_the_tolerance_passes() -> None:
    found = alternate(lambda pixels: answer(pixels) + np.float32(TOLERANCE / 2))
    assert found.wrong == 0
    assert found.largest_difference == pytest.approx(TOLERANCE / 2, rel=1e-2)


def test_order_is_the_same_each_time() -> None:
    assert alternate(stale(1)).first_wrong == alternate(stale(1)).first_wrong


def test_inputs_too_alike_to_be_told_apart_are_refused() -> None:
    same = np.concatenate([INPUTS[:1]] * 5)
    with pytest.raises(TuningError, match=r"batch 1 of 1 and batch 2 of 1 differ by 0\.0e\+00 only"):
        cases_with_answers(answer, batches(same, (1,)), TOLERANCE)


def test_too_few_inputs_are_refused() -> None:
    with pytest.raises(TuningError, match="2 photographs are too few"):
        batches(INPUTS[:2], SIZES)


def test_batches_cover_what_graphs_are_recorded_for_and_sizes_beside_it() -> None:
    assert batch_sizes(Tuning(), 64) == [1, 2, 3, 4, 6, 8, 12, 16, 63, 64]
    assert batch_sizes(Tuning(alexnet_batch_sizes=(32,)), 64) == [1, 2, 3, 4, 6, 8, 12, 16, 31, 32, 33, 63, 64]
    assert batch_sizes(Tuning(), 4) == [1, 2, 3, 4]
    assert [len(inputs) for _, inputs in batches(INPUTS, (2, 8))] == [2, 2, 2, 8, 8, 8]
