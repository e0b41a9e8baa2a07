"""A long run that was stopped is taken up again: ``--resume``.

In: the file that an earlier run wrote (JSON Lines or CSV), and the settings of both. Out: the images that are
done, and the file without what has to be done again: failed images, and a last one that was torn. Beside
``predictions.jsonl``, ``predictions.jsonl.run.json`` says with which settings it was made. Called by: ``classify``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from alexnet_client._errors import InvalidSetting
from alexnet_client._predictions import Prediction, Result

from .files import WholeFile
from .formats import CSV_HEADER, csv_text

RESUMABLE = ("jsonl", "csv")
START_ANEW = "Take up with the same settings, or start anew with: --overwrite"


@dataclass(frozen=True)
class RunSettings:
    """What two runs must share for their results to be of one kind.

    Attributes:
        format: How results are written.
        model: Name of the ensemble.
        versions: Every model and its served versions, such as ``"alexnet 3"``.
        labels_sha256: Of the labels, a line each.
        top: Labels asked for.
        min_score: The lowest score that is kept.
        only_label: The labels that are kept, as they were given.
        shrink: Whether large images were made smaller first.
    """

    format: str
    model: str
    versions: tuple[str, ...]
    labels_sha256: str
    top: int
    min_score: float
    only_label: tuple[str, ...]
    shrink: bool = False


def labels_sha256(labels: Iterable[str]) -> str:
    """A fingerprint of the labels."""
    return hashlib.sha256("".join(f"{label}\n" for label in labels).encode()).hexdigest()


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left.

    Attributes:
        done: The images that need not be done again, by name.
        again: How many failed or were torn.
    """

    done: frozenset[str] = frozenset()
    again: int = 0


def record_path(output: str) -> str:
    """Where the settings of a run are kept."""
    return f"{output}.run.json"


def write_record(output: str, settings: RunSettings) -> None:
    """Keep ``settings`` beside ``output``."""
    record = WholeFile(record_path(output))
    record.file.write((json.dumps(asdict(settings), indent=2, ensure_ascii=False) + "\n").encode())
    record.commit()


def check_record(output: str, settings: RunSettings) -> None:
    """Nothing, if the file was made with ``settings``, or holds no results yet.

    Raises:
        InvalidSetting: It was not, or nobody knows.
    """
    if not has_results(output):
        return
    try:
        with open(record_path(output), encoding="utf-8") as file:
            before = json.load(file)
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"{output}: with which settings it was made is not known; {record_path(output)} cannot be read",
            hint="Start anew with: --overwrite",
        ) from error
    now = json.loads(json.dumps(asdict(settings)))
    for name, value in now.items():
        if before.get(name) != value:
            was, is_ = (json.dumps(v, ensure_ascii=False) for v in (before.get(name), value))
            raise InvalidSetting(f"{output}: {name} was {was} and is {is_}", hint=START_ANEW)


def take_up(output: str, format: str, complete: int, replay: Callable[[Result], None]) -> Earlier:
    """Leave in ``output`` what need not be done again, and say what that is.

    Args:
        output: The file; if there is none, nothing was done.
        format: jsonl or csv.
        complete: How many predictions an image has if none was filtered out; a last image with fewer rows may
            have been cut off between them.
        replay: Gets every result that stays, in order.

    Raises:
        InvalidSetting: The file holds something else.
    """
    if not has_results(output):
        return Earlier()
    done: set[str] = set()
    again = 0
    kept = WholeFile(output)
    try:
        with open(output, encoding="utf-8", errors="surrogateescape", newline="") as file:
            if format == "csv":
                kept.file.write((",".join(CSV_HEADER) + "\n").encode())
            blocks = _csv_blocks(file, output, complete) if format == "csv" else _jsonl_blocks(file, output)
            for block, result in blocks:
                if result is None:
                    again += 1
                    continue
                kept.file.write(block.encode("utf-8", "surrogateescape"))
                done.add(result.image)
                replay(result)
    except BaseException:
        kept.discard()
        raise
    kept.commit()
    return Earlier(frozenset(done), again)


def has_results(output: str) -> bool:
    """Whether an earlier run left something in the file."""
    return os.path.exists(output) and os.path.getsize(output) > 0


def _jsonl_blocks(file: IO[str], name: str) -> Iterator[tuple[str, Result | None]]:
    """Each line and its result; None instead for one that has to be done again."""
    for number, line in enumerate(file, start=1):
        if not line.endswith("\n"):  # only the last can be without, and then it may be cut short
            _refuse_more(file, f"{name}, line {number}")
            yield line, None
            return
        try:
            row = json.loads(line)
            predictions = tuple(Prediction(p["label"], p["index"], p["score"]) for p in row["predictions"])
            result = Result(row["image"], number - 1, predictions, None, 0.0) if row["error"] is None else None
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidSetting(f"{name}, line {number}: not a result of this command") from error
        yield line, result


def _csv_blocks(file: IO[str], name: str, complete: int) -> Iterator[tuple[str, Result | None]]:
    """The rows of each image, as text, and their result."""
    held: list[list[str]] = []
    for number, (row, torn) in enumerate(_csv_rows(file, name)):
        if number == 0:
            if tuple(row) != CSV_HEADER and not torn:
                raise InvalidSetting(f"{name}, line 1: not the columns {','.join(CSV_HEADER)}")
            continue
        if torn:
            # cut inside a row; where that is a row of the image before, both are one image
            if not (held and held[0][0].startswith(row[0]) and len(held) < complete):
                yield "", None
            break
        if len(row) != len(CSV_HEADER) or row[1] not in ("", "1", str(len(held) + 1)):
            raise InvalidSetting(f"{name}, row {number + 1}: not a result of this command")
        if held and row[1] in ("", "1"):
            yield _csv_block(held, name)
            held = []
        held.append(row)
    if held:
        yield _csv_block(held, name) if held[0][5] or len(held) >= complete else ("", None)


def _csv_rows(file: IO[str], name: str) -> Iterator[tuple[list[str], bool]]:
    """Each row, and whether it is a last one without an end."""
    last = ""

    def lines() -> Iterator[str]:
        nonlocal last
        for line in file:
            last = line
            yield line

    rows = csv.reader(lines(), strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                raise InvalidSetting(f"{name}, line {rows.line_num}: not CSV ({error})") from error
            yield [""], True  # inside quotes: where the name ends is not known
            return
        torn = not last.endswith("\n")
        if torn:
            _refuse_more(file, f"{name}, line {rows.line_num}")
        yield row, torn


def _refuse_more(file: IO[str], where: str) -> None:
    r"""Nothing at the end of the file; before it, a line without ``\n`` was not torn, and what follows must stay."""
    if next(file, None) is not None:
        raise InvalidSetting(f"{where}: not a result of this command", hint="Start anew with: --overwrite")


def _csv_block(rows: Sequence[Sequence[str]], name: str) -> tuple[str, Result | None]:
    text = csv_text(rows)
    if rows[0][5]:
        return text, None
    try:
        predictions = tuple(Prediction(row[2], int(row[3]), float(row[4])) for row in rows if row[1])
    except ValueError as error:
        raise InvalidSetting(f"{name}: the rows of {rows[0][0]} are no result of this command") from error
    return text, Result(rows[0][0], 0, predictions, None, 0.0)


def about_run(settings: RunSettings, **more: Any) -> dict[str, str]:
    """The settings as text, for the metadata of a file that holds its own."""
    return {"alexnet_client": json.dumps(asdict(settings) | more, ensure_ascii=False)}
