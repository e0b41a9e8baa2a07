"""CUDA graphs in Triton's TensorRT backend: taken only if every answer stays right and they are faster.

In: a server with the best settings, photographs. Out: a ``GraphsTrial``, for tuning.json. Called by ``run``.

With dynamic batching and no specification of graphs, the backend records them for batches of 1, the preferred sizes
and the maximum; other sizes run as before. All of these sizes, and sizes between them, are asked for here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.tensors import ALEXNET, CLASSIFIER, PIXELS, PREPROCESS
from alexnet_build.tuning.alternating import Alternation, Infer, alternating_answers, cases_with_answers
from alexnet_build.tuning.compare import Measure, Rules, Trial, compare
from alexnet_build.tuning.errors import CandidateRefusedError, TuningError
from alexnet_build.tuning.live import LiveServer
from alexnet_build.tuning.settings import Tuning

#: Largest difference that the order of additions explains, which may change with the batch that a photograph is
#: computed in; the answers to different photographs are further apart.
TOLERANCE = {"fp32": 1e-3}
OTHER_TOLERANCE = 2e-2
ROUNDS = 20
IN_FLIGHT = 8
LARGEST_OF_PHOTOGRAPHS = 4  # in a request to the ensemble; the server makes larger batches of several
BATCHES_A_SIZE = 3  # with two, an answer that is two questions old would pass as right half of the time


@dataclass(frozen=True)
class GraphsTrial:
    """Whether CUDA graphs are taken.

    Attributes:
        answers: By what was asked (``alexnet``, the network alone, or ``classifier``, all of it): what came back.
        trial: The speed with and without; None if the answers ruled them out.
        taken: Whether they are.
        why: In words.
    """

    answers: dict[str, Alternation]
    trial: Trial | None
    taken: bool
    why: str


def try_graphs(
    server: LiveServer,
    best: Tuning,
    photographs: Sequence[Path],
    measure: Measure,
    rules: Rules,
    *,
    precision: str,
    sizes: Sequence[int] | None = None,
    rounds: int = ROUNDS,
) -> GraphsTrial:
    """Compare the answers with and without graphs, then the speed.

    Args:
        server: What serves; it may be left with any settings.
        best: The best settings without graphs.
        photographs: To ask about; at least two that are classified differently.
        measure: Applies settings and measures a turn.
        rules: When graphs are fast enough to be taken.
        precision: The engine's, which says what rounding explains.
        sizes: Of the batches that the network alone is asked for; None: ``batch_sizes``.
        rounds: How often each batch is asked for in each way.

    Raises:
        TuningError: The server does not answer, or the photographs cannot be told apart.
    """
    tolerance = TOLERANCE.get(precision, OTHER_TOLERANCE)
    config = server.served(PREPROCESS)
    sizes = sizes or batch_sizes(best, config.max_batch_size)
    server.apply(best)
    few = [size for size in sizes if size <= LARGEST_OF_PHOTOGRAPHS]
    questions: dict[str, tuple[Infer, list[tuple[str, np.ndarray]]]] = {
        ALEXNET: (server.infer_pixels, batches(_pixels(config, photographs), sizes)),
        CLASSIFIER: (server.infer_images, batches(_image_bytes(photographs), few)),
    }
    asked = {name: (infer, cases_with_answers(infer, made, tolerance)) for name, (infer, made) in questions.items()}
    graphs = replace(best, cuda_graphs=True)
    try:
        server.apply(graphs)
    except CandidateRefusedError as refused:
        return GraphsTrial({}, None, False, f"the server would not load it: {refused}")
    answers = {}
    for name, (infer, cases) in asked.items():
        answers[name] = alternating_answers(infer, cases, rounds=rounds, in_flight=IN_FLIGHT, tolerance=tolerance)
        if found := answers[name].wrong:
            why = f"{found} of {answers[name].answers} answers of {name} were wrong: {answers[name].first_wrong}"
            return GraphsTrial(answers, None, False, why)
    trial = compare("cuda_graphs", (False, True), (best, graphs), measure, rules)
    return GraphsTrial(answers, trial, trial.taken, trial.why)


def batch_sizes(tuning: Tuning, max_batch: int) -> list[int]:
    """The sizes that graphs are recorded for, by whatever rule of the backend, and sizes next to them."""
    recorded = {1, 2, 3, 4, 6, 8, 12, 16, *tuning.alexnet_batch_sizes, max_batch}
    beside = {size + step for size in (*tuning.alexnet_batch_sizes, max_batch) for step in (-1, 1)}
    return sorted(size for size in recorded | beside if 1 <= size <= max_batch)


def batches(single: np.ndarray, sizes: Sequence[int]) -> list[tuple[str, np.ndarray]]:
    """Several different batches of each size, made of the same inputs in other places.

    Args:
        single: (m, ...) different inputs.
        sizes: Of the batches.
    """
    if len(single) < BATCHES_A_SIZE:
        raise TuningError(f"{len(single)} photographs are too few to tell answers apart; expected {BATCHES_A_SIZE}")
    made = []
    for size in sizes:
        for start in range(BATCHES_A_SIZE):
            places = (np.arange(size) + start) % len(single)
            made.append((f"batch {start + 1} of {size}", single[places]))
    return made


def _pixels(config: Any, photographs: Sequence[Path]) -> np.ndarray:
    output = next(tensor for tensor in config.output if tensor.name == PIXELS)
    resize = int(config.parameters["RESIZE_SHORT_SIDE"].string_value)
    return np.stack([pixels_from_photograph(path, output.dims[0], resize) for path in photographs])


def _image_bytes(photographs: Sequence[Path]) -> np.ndarray:
    return np.array([[path.read_bytes()] for path in photographs], dtype=object)  # (m, 1)
