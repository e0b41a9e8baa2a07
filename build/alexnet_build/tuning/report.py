"""What a search found, for people: a line a candidate while it goes, and a table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alexnet_build.tuning.record import Record
from alexnet_build.tuning.search import TOGETHER
from alexnet_build.tuning.settings import NAMES

if TYPE_CHECKING:
    from alexnet_build.tuning.compare import Trial

_HEADS = ("setting", "from", "to", "images/s", "ratio", "noise", "p50 ms", "p99 ms", "alone ms", "taken", "why")
#: Above this share, a comparison of a few turns says little.
MUCH_NOISE = 0.10
_LEFT = {"setting", "taken", "why"}


def line_of(trial: Trial) -> str:
    """One trial in a sentence."""
    what = f"{_name(trial)} {shown(trial.before)} -> {shown(trial.after)}"
    if trial.setting == TOGETHER:
        what = "all that was taken, against the start"
    verdict = f"{'taken' if trial.taken else 'not taken'}: {trial.why}"
    if trial.candidate is None:
        return f"{what}: {verdict}"
    speeds = f"{trial.best.images_per_s:.1f} -> {trial.candidate.images_per_s:.1f} images/s"
    return f"{what}: {speeds}, ratio {trial.ratio:.2f}, noise {trial.noise:.1%}; {verdict}"


def table(record: Record) -> str:
    """Every candidate with its figures, then what was chosen and where."""
    found = record.found
    trials = list(found.trials)
    if record.graphs and record.graphs.trial:
        trials.append(record.graphs.trial)
    parts = [_aligned([_row(trial) for trial in trials])]
    if record.graphs:
        answers = ", ".join(f"{each.answers:,} of {name}" for name, each in record.graphs.answers.items())
        verdict = f"{'on' if record.graphs.taken else 'off'}: {record.graphs.why}"
        parts.append(f"CUDA graphs {verdict}\n  answers compared: {answers or 'none'}")
    changed = [name for name in NAMES if getattr(record.settings, name) != getattr(found.start, name)]
    chosen = ", ".join(f"{NAMES[name]} {shown(getattr(record.settings, name))}" for name in changed)
    parts.append(f"chosen: {chosen or 'what was there; nothing else was faster'}")
    if not found.complete:
        left = f"; not tried: {', '.join(found.not_tried)}" if found.not_tried else ""
        parts.append(f"there was no time for everything{left}; give more --minutes")
    noise = max((trial.noise for trial in trials), default=0.0)
    if noise > MUCH_NOISE:
        parts.append(
            f"turns with the same settings differed by up to ±{noise:.0%}: something else keeps this machine busy. "
            "Tune again when it is idle, or with a longer --turn-seconds"
        )
    concurrency = record.load["concurrency"]
    parts.append(f"{concurrency} requests at once, then one alone; Triton {record.triton}, {record.machine}")
    return "\n\n".join(parts)


def shown(value: Any) -> str:
    """A setting's value as a reader knows it."""
    if isinstance(value, tuple):
        return ",".join(str(size) for size in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "auto" if value is None else str(value)


def _name(trial: Trial) -> str:
    return NAMES.get(trial.setting, trial.setting)


def _row(trial: Trial) -> list[str]:
    together = trial.setting == TOGETHER
    values = ["start", "best"] if together else [shown(trial.before), shown(trial.after)]
    best, candidate = trial.best, trial.candidate
    verdict = ["yes" if trial.taken else "no", trial.why]
    if candidate is None:
        return [_name(trial), *values, f"{best.images_per_s:.1f} → –", "–", "–", "–", "–", "–", *verdict]
    return [
        _name(trial),
        *values,
        f"{best.images_per_s:.1f} → {candidate.images_per_s:.1f}",
        f"{trial.ratio:.2f}",
        f"{trial.noise:.1%}",
        *(
            f"{getattr(best, name) * 1e3:.{digits}f} → {getattr(candidate, name) * 1e3:.{digits}f}"
            for name, digits in (("p50_s", 0), ("p99_s", 0), ("one_p50_s", 1))
        ),
        *verdict,
    ]


def _aligned(rows: list[list[str]]) -> str:
    lines = [list(_HEADS), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if head in _LEFT else cell.rjust(width)
            for cell, width, head in zip(line, widths, _HEADS, strict=True)
        ).rstrip()
        for line in lines
    )
