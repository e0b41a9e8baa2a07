"""What serving.py measured, as records in one file: one JSON object a line, written as soon as it is there.

In: turns. Out: the file, and the medians that tables and pictures show. A run that was cut short goes on where it
stopped, because what is in the file is not measured again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from figures import spread
from load import Load

Record = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One side, kept busy once.

    Attributes:
        side: its key, "litserve-fp32".
        tool: "perf_analyzer", "client" (this project's) or "http".
        concurrency: requests under way at once.
        round: from 1 on.
        load: what came of it.
        beside: what came right before or after it and is compared with it: a side's key, "client" or "alone".
    """

    side: str
    tool: str
    concurrency: int
    round: int
    load: Load
    beside: str = ""


class Results:
    """The records of a run, by what they are: "turn", "alone", "latency", "size", "setting", "about".

    Args:
        path: the file; there from an earlier run, or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.records: list[Record] = [json.loads(line) for line in lines]

    def add(self, what: str, **values: Any) -> None:
        """Write a record."""
        self.records.append({"what": what, **values})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.records[-1]) + "\n")

    def add_turn(self, turn: Turn) -> None:
        """Write a turn."""
        self.add("turn", **asdict(turn))

    def of(self, what: str, **values: Any) -> list[Record]:
        """The records of a kind that have these values."""
        wanted = {"what": what, **values}.items()
        return [record for record in self.records if wanted <= flat(record).items()]

    def one(self, what: str) -> Record:
        """The latest record of a kind.

        Raises:
            ValueError: there is none.
        """
        found = self.of(what)
        if not found:
            raise ValueError(
                f"{self.path} has no record {what!r}; next: python benchmarks/serving.py --output {self.path}"
            )
        return found[-1]

    def loads(self, side: str, concurrency: int, tool: str | None = None) -> list[Load]:
        """Every round of a side; None takes the side's first tool, not this project's client beside it."""
        turns = self.of("turn", side=side, concurrency=concurrency, **({"tool": tool} if tool else {}))
        if tool is None:
            turns = [turn for turn in turns if turn["tool"] != "client"]
        return [Load(**turn["load"]) for turn in turns]

    def median(self, side: str, concurrency: int, field: str = "images_per_s", tool: str | None = None) -> float | None:
        """The median of the rounds in one field of ``Load``; None where that was not measured."""
        loads = self.loads(side, concurrency, tool)
        return spread([getattr(load, field) for load in loads]).p50 if loads else None

    def ratio(self, side: str, other: str, concurrency: int) -> float | None:
        """What a side did of what another did right beside it: the median of the rounds; None without any."""
        ratios = []
        for turn in self.of("turn", side=side, concurrency=concurrency, beside=other):
            beside = self.of("turn", side=other, concurrency=concurrency, round=turn["round"])
            ratios += [turn["load"]["images_per_s"] / found["load"]["images_per_s"] for found in beside]
        return spread(ratios).p50 if ratios else None

    def alone(self, work: str, **values: Any) -> float | None:
        """The median rate of work without a server: "network" (precision, batch_size) or "decode"."""
        rates = [record["images_per_s"] for record in self.of("alone", work=work, **values)]
        return spread(rates).p50 if rates else None

    def sides(self) -> list[str]:
        """The keys of the sides that had a turn, in the order of the tables."""
        measured = {turn["side"] for turn in self.of("turn")}
        return [key for key in self.one("about")["names"] if key in measured]

    def write_csv(self, path: Path) -> None:
        """Write every turn as a line."""
        turns = [{**turn, **turn["load"]} for turn in self.of("turn")]
        for turn in turns:
            del turn["load"], turn["what"]
        write_rows(path, turns)


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's plain values, which are those that can be asked for."""
    return {name: value for name, value in record.items() if isinstance(value, str | int | float | None)}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of equal columns as CSV, numbers to five significant digits."""
    table = [{name: rounded(value) for name, value in row.items()} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]) if table else [])
        writer.writeheader()
        writer.writerows(table)


def rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
