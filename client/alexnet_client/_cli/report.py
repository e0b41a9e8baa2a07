"""What ``status`` prints: one server a block, for the eye or as JSON: readiness, and what each model has done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from alexnet_client._errors import AlexNetClientError
from alexnet_client._status import ModelStatus, ModelWork, ServerStatus

from .bench_report import milliseconds

WORK_COLUMNS = ("images", "batch", "queue", "compute", "total")
WORK_WIDTHS = (10, 6, 8, 8, 8)


def row_from_status(status: ServerStatus | AlexNetClientError, url: str) -> dict[str, Any]:
    """One server as JSON; one that does not answer has its error as ``"fault"``."""
    if isinstance(status, AlexNetClientError):
        return {
            "url": url,
            "name": None,
            "version": None,
            "live": False,
            "ready": False,
            "models": [],
            "fault": status.message,
            "serving": False,
        }
    models = [_row_from_model(model) for model in status.models]
    return dataclasses.asdict(status) | {"models": models, "serving": status.serving}


def _row_from_model(model: ModelStatus) -> dict[str, Any]:
    work = model.work and {
        "requests": model.work.requests,
        "images": model.work.images,
        "batch": round(model.work.batch, 3),
        "queue_ms": round(model.work.queue_s * 1000, 3),
        "compute_ms": round(model.work.compute_s * 1000, 3),
        "total_ms": round(model.work.total_s * 1000, 3),
    }
    return {"name": model.name, "versions": model.versions, "ready": model.ready, "work": work}


def print_status(console: Console, status: ServerStatus) -> None:
    """One server: its version, a line a model, and whether it classifies."""
    console.print(f"[bold]{escape(status.url)}[/]  {escape(status.name)} {escape(status.version)}", highlight=False)
    width = max(len(name) for name in ("server", *(model.name for model in status.models)))
    lines = [("server", status.live and status.ready, "" if status.ready else "live" if status.live else "")]
    for model in status.models:
        versions = f"version {', '.join(model.versions)}" if model.versions else "no version is served"
        lines.append((model.name, model.ready, versions))
    for name, ready, note in lines:
        state = "[green]ready[/]    " if ready else "[red]not ready[/]"
        console.print(f"  {escape(name):<{width}}  {state}  {note}".rstrip(), highlight=False)
    answer = "[green]yes[/]" if status.fault is None else f"[red]no[/]: {escape(status.fault)}"
    console.print(f"  {'serving':<{width}}  {answer}", highlight=False, soft_wrap=True)
    for line in work_lines(status.models):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def work_lines(models: Sequence[ModelStatus]) -> list[str]:
    """What the models have done since they were loaded, the mean of a request; nothing if the server does not tell.

    Of the first one, the ensemble, only images and the whole time: batches and queues are those of the others.
    """
    works = [(model.work, model is models[0]) for model in models if model.work is not None]
    if not works:
        return []
    title = "since loaded"
    width = max(len(title), *(len(work.model) for work, _ in works))
    rows = [(title, WORK_COLUMNS), *((work.model, _cells(work, is_ensemble)) for work, is_ensemble in works)]
    return ["", *(_columns(name, cells, width) for name, cells in rows)]


def _cells(work: ModelWork, is_ensemble: bool) -> tuple[str, ...]:
    if not work.requests:
        return (f"{work.images:,}", *"----")
    steps = (f"{work.batch:.1f}", milliseconds(work.queue_s), milliseconds(work.compute_s))
    return (f"{work.images:,}", *("---" if is_ensemble else steps), milliseconds(work.total_s))


def _columns(name: str, cells: tuple[str, ...], width: int) -> str:
    right = (cell.rjust(size) for cell, size in zip(cells, WORK_WIDTHS, strict=True))
    return f"  {name:<{width}}  {'  '.join(right)}"
