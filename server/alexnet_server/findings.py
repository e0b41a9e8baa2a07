"""What the preflight checks look at and what they return; `preflight.py` lists the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alexnet_server.discovery import TritonServer
from alexnet_server.repository import ModelFolder


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a model from loading.

    Attributes:
        subject: what it is about: a model, a file, the machine.
        found: what is there.
        expected: what has to be there.
        command: what to type next.
    """

    subject: str
    found: str
    expected: str
    command: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.found}\n  expected: {self.expected}\n  next: {self.command}"


@dataclass(frozen=True)
class Situation:
    """What the checks look at: a repository, its models and the server that is to serve them."""

    repository: Path
    models: tuple[ModelFolder, ...]
    server: TritonServer

    @property
    def readable_models(self) -> list[ModelFolder]:
        """The models whose config could be read; the others have a finding of their own."""
        return [model for model in self.models if not model.problem]

    @property
    def python_models(self) -> list[ModelFolder]:
        """The models that run in Python processes here."""
        python = {"python", "onnxruntime"} if self.server.embedded else {"python"}
        return [model for model in self.readable_models if model.config.backend in python]

    def build_command(self, engine: str = "onnxruntime") -> str:
        """Return the command that builds this repository anew."""
        return f"alexnet-build repository --weights demo --engine {engine} --output {self.repository}"


Check = Callable[[Situation], Iterator[Finding]]
