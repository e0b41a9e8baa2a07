"""A live server's answers: probabilities from the ranked labels that ``alexnet_client`` gives.

In: the address of a server, and photographs, which it gets as files and decodes itself. Out: a ``sources.Source``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.evaluation.sources import Advance, Source, raise_if_broken

CONCURRENCY = 16  # keeps two decoding processes and the network busy, and the server's queue short


def server_source(url: str) -> Source:
    """A live server, through ``alexnet_client``: it gets the files as they are and decodes them itself.

    Raises:
        EngineError: The server does not answer, or serves something else.
    """
    from alexnet_client import AlexNetClientError, Classifier, InvalidImage

    try:
        with Classifier(url) as classifier:
            labels = tuple(classifier.labels())
    except AlexNetClientError as error:
        raise EngineError(str(error)) from error

    def probabilities(paths: Sequence[Path], advance: Advance) -> np.ndarray:
        rows = np.zeros((len(paths), len(labels)), np.float32)
        broken: list[str] = []
        with Classifier(url) as classifier:
            for result in classifier.classify_many(paths, top_k=len(labels), concurrency=CONCURRENCY):
                if isinstance(result.error, InvalidImage):
                    broken.append(f"{result.image}: {result.error.message.removeprefix(f'{result.image}: ')}")
                elif result.error is not None:
                    raise EngineError(f"{result.image}: {result.error}") from result.error
                else:
                    scores = np.array([prediction.score for prediction in result.predictions], np.float32)
                    places = [prediction.index for prediction in result.predictions]
                    rows[result.index, places] = strictly_descending(scores)
                advance(1)
        raise_if_broken(broken, len(paths))
        return rows

    return Source("server", url, labels, probabilities)


def strictly_descending(scores: np.ndarray) -> np.ndarray:
    """Keep the server's order where its six decimals are equal: each score is raised until it is above the next one.

    Triton sorts by the full probability and then writes ``0.000000`` for most classes; without this, which of them are
    among the first five would be left to chance.

    Args:
        scores: (C,) float32, best first, not negative.

    Returns:
        (C,) float32, strictly descending; ties of n move by n units in the last place at most.
    """
    # Floats that are not negative sort as their bits do, read as integers, and the next float is the next integer.
    bits = np.ascontiguousarray(scores[::-1], np.float32).view(np.int32)
    ranks = np.arange(len(bits), dtype=np.int32)
    ascending = np.maximum.accumulate(bits - ranks) + ranks
    return ascending.astype(np.int32).view(np.float32)[::-1]
