"""Whether each answer belongs to its own question: different inputs in changing order, several under way at once.

In: a function that asks a server, and inputs with their right answers. Out: an ``Alternation``. Called by ``graphs``.

CUDA graphs replay recorded work on fixed buffers, and a replay that runs too early gives the answer to an earlier
question (reported of Triton's TensorRT backend: server issue 8550, where the first answers after a change of the
input were those to the input before). Sending one input again and again, as most tests do, does not see that; nor
do two inputs in turns, if what comes back is the answer before the last. So the order here is random, with runs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from alexnet_build.tuning.errors import TuningError

#: A batch of inputs to its answers, (n, C) float32; called by several threads at once.
Infer = Callable[[np.ndarray], np.ndarray]

LONGEST_RUN = 3


@dataclass(frozen=True)
class Case:
    """A question whose answer is known.

    Attributes:
        name: For messages.
        inputs: (n, ...), as the server takes it.
        expected: (n, C) float32.
    """

    name: str
    inputs: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Alternation:
    """What came of it.

    Attributes:
        answers: Batches that were asked for.
        wrong: Of those, how many came back with another first class, or too far off.
        largest_difference: Of any probability.
        first_wrong: What the first wrong one was; empty if all were right.
    """

    answers: int
    wrong: int
    largest_difference: float
    first_wrong: str


def cases_with_answers(infer: Infer, batches: Sequence[tuple[str, np.ndarray]], tolerance: float) -> list[Case]:
    """Ask for the right answers, one after the other, of a server that is known to be right.

    Raises:
        TuningError: Two batches of one size are too alike for their answers to be told apart.
    """
    cases = [Case(name, inputs, infer(inputs)) for name, inputs in batches]
    for first, second in itertools.combinations(cases, 2):
        if len(first.inputs) == len(second.inputs):
            apart = np.abs(first.expected - second.expected).max()
            if apart <= 2 * tolerance:
                raise TuningError(
                    f"the answers to {first.name} and {second.name} differ by {apart:.1e} only, too little to notice "
                    f"when they are mixed up; expected more than {2 * tolerance:.1e}. Give other --photographs"
                )
    return cases


def alternating_answers(
    infer: Infer, cases: Sequence[Case], *, rounds: int, in_flight: int, tolerance: float, seed: int = 0
) -> Alternation:
    """Ask again and again, in random order with runs: first one after the other, then several at once.

    Alone, a batch reaches the network at its own size; together with others, at whatever size the server makes of
    them.

    Args:
        infer: Asks the server.
        cases: Different questions, of all sizes.
        rounds: How often each is asked in each way, at least.
        in_flight: How many are under way at once the second time.
        tolerance: Largest difference of a probability that rounding explains. Where the two best classes are closer
            than twice that, either may be first.
        seed: Of the order.
    """
    order = _order(len(cases), rounds, random.Random(seed))
    answers = [infer(cases[index].inputs) for index in order]
    with ThreadPoolExecutor(in_flight) as pool:
        answers += pool.map(lambda index: infer(cases[index].inputs), order)
    wrong, largest, first_wrong = 0, 0.0, ""
    for number, (index, answer) in enumerate(zip([*order, *order], answers, strict=True)):
        case = cases[index]
        difference = float(np.abs(answer - case.expected).max())
        largest = max(largest, difference)
        if difference > tolerance or not _same_first_class(answer, case.expected, tolerance):
            wrong += 1
            first_wrong = first_wrong or _described(number, len(order), cases, index, answer, difference)
    return Alternation(len(answers), wrong, largest, first_wrong)


def _order(count: int, rounds: int, generator: random.Random) -> list[int]:
    order = []
    for _ in range(rounds):
        shuffled = generator.sample(range(count), count)
        order += [index for index in shuffled for _ in range(generator.randint(1, LONGEST_RUN))]
    return order


def _same_first_class(answer: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    best_two = np.sort(expected, axis=1)[:, -2:]  # (n, 2), or (n, 1) of a single class
    clear = best_two[:, -1] - best_two[:, 0] > 2 * tolerance
    return bool((answer.argmax(1) == expected.argmax(1))[clear].all())


def _described(
    number: int, alone: int, cases: Sequence[Case], index: int, answer: np.ndarray, difference: float
) -> str:
    when = f"{number + 1} of {alone}, one at a time" if number < alone else "with several under way"
    said = f"answer {when}: {cases[index].name} differs by {difference:.1e}"
    same_size = [case for case in cases if case.expected.shape == answer.shape]
    nearest = min(same_size, key=lambda case: float(np.abs(answer - case.expected).max()))
    return said if nearest is cases[index] else f"{said}; it is nearest to the answer to {nearest.name}"
