"""What ``status`` prints: one server a block, for the eye or as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console
from rich.markup import escape

from alexnet_client._errors import AlexNetClientError
from alexnet_client._status import ServerStatus


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
    return dataclasses.asdict(status) | {"serving": status.serving}


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
