"""What the preflight checks look at and what they return; `preflight.py` lists the checks."""

from __future__ import annotations

import json
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
        """Return the command that builds an engine of the same network into this repository."""
        weights = weights_of(self.repository)
        return f"alexnet-build repository --weights {weights} --engine {engine} --output {self.repository}"


def weights_of(repository: Path) -> str:
    """Return what `alexnet-build --weights` has to be for the network that a repository serves.

    The newest engine's manifest says it; without an engine, the labels tell ImageNet's network from others.
    """
    model = repository / "alexnet"
    manifests = [path for path in model.glob("*/manifest.json") if path.parent.name.isdigit()]
    try:
        newest = max(manifests, key=lambda path: int(path.parent.name))
        return str(json.loads(newest.read_text(encoding="utf-8"))["weights"]["source"]).rsplit(" (", 1)[0]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or one that says nothing
    try:
        classes = len((model / "labels.txt").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return "demo"
    return "imagenet" if classes == 1000 else "demo"


Check = Callable[[Situation], Iterator[Finding]]
