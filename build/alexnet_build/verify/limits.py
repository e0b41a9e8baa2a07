"""What an engine may differ by, for each precision, and why.

In: a ``Parity``. Out: nothing, or a ``ParityError``. The figures that the limits rest on are in docs/precision.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from alexnet_build.errors import ParityError
from alexnet_build.verify.parity import Parity


@dataclass(frozen=True)
class Limits:
    """What an engine may differ by.

    Attributes:
        top1_agreement: Smallest share of views with the same first class as torch.
        max_probability_difference: Largest difference of any probability.
        mean_probability_difference: Largest share of probability that may go to other classes, on average.
        accuracy_loss: Most that may be lost of the share of right first classes, where enough are known.
    """

    top1_agreement: float
    max_probability_difference: float
    mean_probability_difference: float
    accuracy_loss: float


#: FP32 differs by the order of additions alone. FP16 keeps 11 bits and BF16 8: ten times what the demo network differs
#: by on 2,893 photographs (1.5e-3 and 1.1e-2 at most, 2e-4 and 2e-3 on average), and a first class may change where two
#: are nearly equal. INT8 and FP8 move single probabilities far where two classes are close, without a loss of accuracy;
#: ranges that are calibrated badly lose it: agreement 94 %, a mean of 8e-2, 1.4 points of accuracy. The limits lie
#: between these and what good ranges give (98 to 99 %, 1.4e-2 to 6e-2, at most 0.2 points).
LIMITS = {
    "fp32": Limits(1.0, 1e-4, 1e-5, 0.0),
    "fp16": Limits(0.99, 2e-2, 2e-3, 0.005),
    "bf16": Limits(0.97, 0.1, 2e-2, 0.01),
    "int8": Limits(0.93, 0.6, 7e-2, 0.01),
    "fp8": Limits(0.93, 0.6, 7e-2, 0.01),
}

#: Fewer labelled photographs than this say nothing about one percent of accuracy.
_ENOUGH_LABELLED = 200


def problems(found: Parity, precision: str) -> list[str]:
    """What is over a limit of a precision, both sides in each sentence; empty if nothing is."""
    limits = LIMITS[precision]
    over = []
    # each comparison is written so that NaN fails
    if not found.top1_agreement >= limits.top1_agreement:
        over.append(f"top-1 agreement {found.top1_agreement:.2%} (at least {limits.top1_agreement:.2%})")
    for name in ("max_probability_difference", "mean_probability_difference"):
        value, most = getattr(found, name), getattr(limits, name)
        if not value <= most:
            which = "largest" if name.startswith("max") else "mean"
            over.append(f"{which} probability difference {value:.2e} (at most {most:.0e})")
    if found.accuracy is not None and found.reference_accuracy is not None and found.labelled >= _ENOUGH_LABELLED:
        lost = found.reference_accuracy - found.accuracy
        if not lost <= limits.accuracy_loss:
            over.append(
                f"accuracy {found.accuracy:.2%} on {found.labelled} photographs where torch has "
                f"{found.reference_accuracy:.2%} (at most {limits.accuracy_loss * 100:g} points less)"
            )
    return over


def check_parity(found: Parity, precision: str, what: str = "engine") -> None:
    """Compare with the limits of a precision.

    Args:
        found: The comparison with torch.
        precision: Names the limits.
        what: Was compared; for the message.

    Raises:
        ParityError: Names what is over which limit, and the worst views.
    """
    if over := problems(found, precision):
        worst = "\n  ".join(str(view) for view in found.worst[:3])
        raise ParityError(
            f"the {precision} {what} does not agree with torch on {found.photographs} views of photographs: "
            f"{', '.join(over)}. Worst:\n  {worst}"
        )
