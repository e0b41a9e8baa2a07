"""How many operations a layer is, from its shapes alone.

A multiplication and an addition are two operations, as vendors count them in their peak figures; bias and activation of
a fused layer are not counted. Shapes are those of one batch, so the figures are for the batch and not for an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Maximum, difference, exponential, sum, quotient.
SOFTMAX_OPERATIONS = 5


def convolution_flops(output: Sequence[int], channels_a_group: int, kernel: Sequence[int]) -> int:
    """Operations of a convolution: 2 C/g kH kW for each element of the output.

    Args:
        output: (N, M, H, W).
        channels_a_group: Input channels that one output sees, C/g.
        kernel: (kH, kW).
    """
    return 2 * math.prod(output) * channels_a_group * math.prod(kernel)


def fully_connected_flops(output: Sequence[int], features: int) -> int:
    """Operations of a matrix product: 2 K for each element of its (N, M) output.

    Args:
        output: (N, M), or with ones behind it.
        features: Inputs K of one output.
    """
    return 2 * math.prod(output) * features


def pooling_flops(output: Sequence[int], window: Sequence[int]) -> int:
    """Comparisons or additions of pooling: the window's size for each element of the output."""
    return math.prod(output) * math.prod(window)


def normalisation_flops(output: Sequence[int], size: int) -> int:
    """Operations of local response normalisation over ``size`` channels (the paper, section 3.3).

    For each element: ``size`` squares and additions, then scale, add, power and divide.
    """
    return math.prod(output) * (2 * size + 4)


def softmax_flops(output: Sequence[int]) -> int:
    """Operations of a softmax."""
    return SOFTMAX_OPERATIONS * math.prod(output)


def elementwise_flops(output: Sequence[int]) -> int:
    """Operations of an addition, a multiplication or a ReLU: one an element."""
    return math.prod(output)
