"""The search itself: one setting after the other, a step at a time, for as long as there is time.

In: where to start, the ladders, a function that measures. Out: ``Found``: the best settings and every trial.
Called by ``run``; it knows nothing of servers.

Coordinate descent: from the best settings so far, each setting is moved to its neighbours while that is faster; the
settings are gone through again until a whole pass changes nothing. At the end everything that was taken is measured
once more, together, against the start: of many candidates, some win by luck, and luck does not repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alexnet_build.tuning.bounds import Ladder
from alexnet_build.tuning.compare import TURNS_A_BLOCK, Measure, Rules, Trial, Turn, compare
from alexnet_build.tuning.settings import NAMES, Tuning

TOGETHER = "all"


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        start: The settings that it began with.
        best: Those that it ends with: ``start``, unless others won twice.
        figures: What the best do: medians of their last trial; None if there was time for none.
        trials: Every candidate, in the order in which they were measured; a last one with everything together.
        complete: Whether nothing was left to try when it ended.
        not_tried: Settings that there was no time for.
    """

    start: Tuning
    best: Tuning
    figures: Turn | None
    trials: tuple[Trial, ...]
    complete: bool
    not_tried: tuple[str, ...]


@dataclass
class _Search:
    """What the search knows so far."""

    start: Tuning
    measure: Measure
    rules: Rules
    deadline_s: float
    now_s: Callable[[], float]
    heard: Callable[[Trial], None]
    best: Tuning
    trials: list[Trial] = field(default_factory=list)
    seen: set[tuple[Tuning, Tuning]] = field(default_factory=set)
    latency_spent: float = 1.0
    turns: int = 0
    turns_s: float = 0.0

    def timed(self, tuning: Tuning) -> Turn:
        begun_s = self.now_s()
        turn = self.measure(tuning)
        self.turns, self.turns_s = self.turns + 1, self.turns_s + self.now_s() - begun_s
        return turn

    def has_time(self) -> bool:
        """Whether a trial can be finished, and after it the confirmation, if turns take as long as they did."""
        trials_s = 2 * self.rules.blocks * TURNS_A_BLOCK * self.turns_s / self.turns
        return self.now_s() + trials_s <= self.deadline_s

    def try_value(self, setting: str, value: Any) -> Trial:
        candidate = replace(self.best, **{setting: value})
        allowance = (1 + self.rules.max_latency_loss) / self.latency_spent
        values = getattr(self.best, setting), value
        trial = compare(setting, values, (self.best, candidate), self.timed, self.rules, allowance)
        self.seen.add((self.best, candidate))
        self.trials.append(trial)
        self.heard(trial)
        if trial.taken and trial.candidate is not None:
            self.seen.add((candidate, self.best))  # that the way back is slower is known now, too
            self.best = candidate
            # A quicker answer to one request is no allowance for a slower one later.
            self.latency_spent *= max(1.0, trial.candidate.one_p50_s / trial.best.one_p50_s)
        return trial


def search(
    start: Tuning,
    ladders: Sequence[Ladder],
    measure: Measure,
    rules: Rules,
    *,
    seconds: float,
    skip: Callable[[Tuning, Tuning], bool] = lambda best, candidate: False,
    heard: Callable[[Trial], None] = lambda trial: None,
    now_s: Callable[[], float] = time.monotonic,
) -> Found:
    """Search the best settings.

    Args:
        start: The settings to begin with.
        ladders: What may be changed, in this order.
        measure: Applies settings and measures a turn.
        rules: When a candidate is taken.
        seconds: How long it may take; a trial begins only if it and the confirmation should be done by then.
        skip: Whether two settings are the same by another name.
        heard: Told of every trial.
        now_s: A clock.

    Raises:
        TuningError: Requests fail with ``start``, too.
    """
    state = _Search(start, measure, rules, now_s() + seconds, now_s, heard, start)
    state.timed(start)  # warms up, and shows how long a turn is
    reached: set[str] = set()
    complete = True
    changed = True
    while changed and complete:
        changed = False
        for ladder in ladders:
            done, better = _climb(state, ladder, skip)
            changed |= better
            if not done:
                complete = False
                break
            reached.add(ladder.setting)
    _confirm(state)
    not_tried = tuple(NAMES[ladder.setting] for ladder in ladders if ladder.setting not in reached)
    last = state.trials[-1] if state.trials else None
    figures = None if last is None else last.candidate if last.taken else last.best
    return Found(start, state.best, figures, tuple(state.trials), complete, not_tried)


def _climb(state: _Search, ladder: Ladder, skip: Callable[[Tuning, Tuning], bool]) -> tuple[bool, bool]:
    """Move one setting while that is faster; whether there was time for all of it, and whether it moved."""
    moved = False
    for way in ladder.neighbours(getattr(state.best, ladder.setting)):
        if moved and ladder.ordered:
            break  # the way back leads to where it came from
        for value in way:
            candidate = replace(state.best, **{ladder.setting: value})
            if skip(state.best, candidate):
                continue
            if (state.best, candidate) in state.seen:
                break  # it was not better in the pass before
            if not state.has_time():
                return False, moved
            if not state.try_value(ladder.setting, value).taken:
                break
            moved = True
    return True, moved


def _confirm(state: _Search) -> None:
    """Measure everything that was taken against the start; without a gain the start stays."""
    if state.best == state.start:
        return
    changed = [name for name in NAMES if getattr(state.best, name) != getattr(state.start, name)]
    values = tuple({NAMES[name]: getattr(side, name) for name in changed} for side in (state.start, state.best))
    trial = compare(TOGETHER, (values[0], values[1]), (state.start, state.best), state.timed, state.rules)
    state.trials.append(trial)
    state.heard(trial)
    if not trial.taken:
        state.best = state.start
