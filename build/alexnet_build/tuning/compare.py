"""One candidate's settings against the best so far, in turns on the same server.

A candidate is better if its median is, by more than the best settings' own turns lie apart, and if besides the worst
of its turns is better than the best of theirs: of eight turns, chance alone arranges that one time in seventy.

In: two ``Tuning``s and a function that applies one and measures a turn. Out: a ``Trial``: what was measured, whether
the candidate is taken, and why. Called by ``search`` and ``graphs``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_build.tuning.errors import CandidateRefusedError, TuningError
from alexnet_build.tuning.settings import Tuning


@dataclass(frozen=True)
class Turn:
    """What the server did in one turn; also, field by field, the median of several.

    Attributes:
        images: Answers that were counted while many requests were under way.
        images_per_s: Such images classified a second.
        p50_s: Median seconds of such a request.
        p99_s: Their 99th percentile.
        one_p50_s: Median seconds of a request that is alone.
        failed: Requests that came back with an error.
        wrong: Answers with another first class than before anything was changed.
        error: The first error's words; empty if there was none.
        generator_cores: Processor seconds a second that sending the requests took.
    """

    images: int
    images_per_s: float
    p50_s: float
    p99_s: float
    one_p50_s: float
    failed: int = 0
    wrong: int = 0
    error: str = ""
    generator_cores: float = 0.0


#: Best, candidate, candidate, best: a drift of the machine, if it is steady, meets both alike.
BLOCK = (False, True, True, False)
TURNS_A_BLOCK = len(BLOCK)

TAKEN = "better in each of its turns, by more than the noise"

#: Applies settings to the server and measures one turn.
Measure = Callable[[Tuning], Turn]


@dataclass(frozen=True)
class Rules:
    """When a candidate is taken.

    Attributes:
        blocks: How many ``BLOCK``s of turns; a candidate that is not ahead after one gets no further one.
        min_gain: The share it must win by at least, if the noise is smaller than that.
        max_latency_loss: The share by which a request that is alone may become slower, over the whole search.
        max_p99_s: Longest 99th percentile of a request among many; None: any.
    """

    blocks: int = 2
    min_gain: float = 0.02
    max_latency_loss: float = 0.10
    max_p99_s: float | None = None


@dataclass(frozen=True)
class Trial:
    """One candidate, measured.

    Attributes:
        setting: Field of ``Tuning``, or ``all`` for the confirmation of everything that was taken.
        before: The setting's value in the best settings so far.
        after: The candidate's.
        best: Medians of the best settings' turns.
        candidate: Medians of the candidate's; None if the server would not load it.
        ratio: The candidate's medians over the best's, in images a second; or, while the best is over the limit of
            the 99th percentile, in how much shorter that became.
        noise: Half the spread of the best settings' own turns, as a share of their median.
        taken: Whether it is better.
        why: In words.
        turns: Every turn, ``(is the candidate's, Turn)``, in their order.
    """

    setting: str
    before: Any
    after: Any
    best: Turn
    candidate: Turn | None
    ratio: float
    noise: float
    taken: bool
    why: str
    turns: tuple[tuple[bool, Turn], ...]


def compare(
    setting: str,
    values: tuple[Any, Any],
    tunings: tuple[Tuning, Tuning],
    measure: Measure,
    rules: Rules,
    latency_allowance: float | None = None,
) -> Trial:
    """Measure two settings in turns.

    Args:
        setting: What the trial is about.
        values: Its value in both.
        tunings: The best so far, and the candidate.
        measure: Applies one of them and measures a turn.
        rules: When the candidate is taken.
        latency_allowance: How many times as long a request that is alone may take; None: what the rules say.

    Raises:
        TuningError: Requests fail with the best settings so far, too.
    """
    allowance = 1 + rules.max_latency_loss if latency_allowance is None else latency_allowance
    turns: list[tuple[bool, Turn]] = []
    for is_candidate in BLOCK * rules.blocks:
        try:
            turn = measure(tunings[is_candidate])
        except CandidateRefusedError as refused:
            if not is_candidate:
                raise TuningError(f"the server would not load what it served before: {refused}") from refused
            why = f"the server would not load it: {refused}"
            return Trial(setting, *values, median(_of(turns, False)), None, 0.0, 0.0, False, why, tuple(turns))
        if (turn.failed or turn.wrong) and not is_candidate:
            raise TuningError(f"with the settings that are there, {_faults(turn)}; nothing can be compared with that")
        turns.append((is_candidate, turn))
        if len(turns) % TURNS_A_BLOCK == 0:
            best, candidate = _of(turns, False), _of(turns, True)
            ratio, noise, objection = judged(best, candidate, rules, allowance)
            if ratio <= 1:
                break
    taken, why = objection is None, objection or TAKEN
    return Trial(setting, *values, median(best), median(candidate), ratio, noise, taken, why, tuple(turns))


def judged(
    best: Sequence[Turn], candidate: Sequence[Turn], rules: Rules, latency_allowance: float
) -> tuple[float, float, str | None]:
    """The ratio of the medians, the noise, and why the candidate is not taken; None: it is."""
    ours, theirs = median(best), median(candidate)
    if theirs.failed or theirs.wrong:
        return 0.0, 0.0, _faults(theirs)
    limit_s = rules.max_p99_s
    over = limit_s is not None and ours.p99_s > limit_s
    goal = (lambda turn: 1 / turn.p99_s) if over else (lambda turn: turn.images_per_s)
    own, others = [goal(turn) for turn in best], [goal(turn) for turn in candidate]
    middle = statistics.median(own)
    ratio = statistics.median(others) / middle
    noise = (max(own) - min(own)) / 2 / middle
    least = max(noise, rules.min_gain)
    why = None
    if ratio <= 1:
        why = "not better"
    elif theirs.one_p50_s > latency_allowance * ours.one_p50_s:
        why = (
            f"one request alone takes {theirs.one_p50_s * 1e3:.1f} instead of {ours.one_p50_s * 1e3:.1f} ms, "
            f"at most {latency_allowance:.2f} times as long is allowed"
        )
    elif limit_s is not None and not over and theirs.p99_s > limit_s:
        why = f"its p99 of {theirs.p99_s * 1e3:.0f} ms is over the limit of {limit_s * 1e3:.0f} ms"
    elif ratio - 1 <= least:
        why = f"within {'the noise' if noise > rules.min_gain else 'what counts as a gain'} of {least:.1%}"
    elif min(others) <= max(own):
        why = "not better in each of its turns"
    return ratio, noise, why


def median(turns: Sequence[Turn]) -> Turn:
    """Field by field the median; of counts the sum, of errors the first."""

    def middle(name: str) -> float:
        return statistics.median(getattr(turn, name) for turn in turns)

    return Turn(
        images=sum(turn.images for turn in turns),
        images_per_s=middle("images_per_s"),
        p50_s=middle("p50_s"),
        p99_s=middle("p99_s"),
        one_p50_s=middle("one_p50_s"),
        failed=sum(turn.failed for turn in turns),
        wrong=sum(turn.wrong for turn in turns),
        error=next((turn.error for turn in turns if turn.error), ""),
        generator_cores=middle("generator_cores"),
    )


def _faults(turn: Turn) -> str:
    error = f" ({turn.error})" if turn.error else ""
    return f"{turn.failed} requests failed, {turn.wrong} answers were wrong{error}"


def _of(turns: Sequence[tuple[bool, Turn]], candidate: bool) -> list[Turn]:
    return [turn for is_candidate, turn in turns if is_candidate == candidate]
