"""Which layers a network cannot do without in higher precision, by measurement.

In: a way to run the network with any of its layers left as they are. Out: each layer's own error, and the fewest layers
to leave. Called by ``onnx_in_precision``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: Names of the layers that are not rounded, to (N, C) probabilities.
AnswersKeeping = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class LayerError:
    """What rounding one layer alone does to the answers.

    Attributes:
        layer: Its name, e.g. ``conv1``.
        mean_probability_difference: Share of probability that goes to other classes, on average (see ``Parity``).
        top1_agreement: Share of views that keep their first class.
    """

    layer: str
    mean_probability_difference: float
    top1_agreement: float


def layer_errors(layers: Sequence[str], answers: AnswersKeeping, reference: np.ndarray) -> tuple[LayerError, ...]:
    """Round one layer after the other, alone.

    Args:
        layers: All that can be rounded.
        answers: Runs the network.
        reference: (N, C), the answers without any rounding.

    Returns:
        The errors, largest first.
    """
    errors = []
    for layer in layers:
        probabilities = answers([other for other in layers if other != layer])
        moved = float(np.abs(probabilities - reference).sum(1).mean() / 2)
        agreed = float((probabilities.argmax(1) == reference.argmax(1)).mean())
        errors.append(LayerError(layer, moved, agreed))
    return tuple(sorted(errors, key=lambda error: -error.mean_probability_difference))


def fewest_kept(errors: Sequence[LayerError], accepted: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """Leave the layer with the largest error as it is, then the next one, until the answers are accepted.

    Args:
        errors: Largest first; rounding all of these layers was not accepted.
        accepted: Whether the answers are good enough with these layers left.

    Returns:
        The layers to leave; all of them where nothing less is accepted.
    """
    kept: list[str] = []
    for error in errors:
        kept.append(error.layer)
        if accepted(kept):
            break
    return tuple(kept)
