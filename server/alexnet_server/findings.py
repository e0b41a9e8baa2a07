"""What the preflight checks look at and what they return; `preflight.py` lists the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alexnet_server.backends import server_environment
from alexnet_server.commands import build_command
from alexnet_server.discovery import TritonServer
from alexnet_server.hardware import Gpu, Gpus, find_gpus, find_tensorrt
from alexnet_server.manifest import EngineRecord, Manifest, read_manifest
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
class Target:
    """Another machine than this one, to check a repository for.

    Attributes:
        compute_capabilities: of its GPUs, e.g. ("8.9",); empty where that is not said.
        tensorrt: the beginning of its TensorRT's version, e.g. "11.3"; None where that is not said.
    """

    compute_capabilities: tuple[str, ...] = ()
    tensorrt: str | None = None

    def __str__(self) -> str:
        gpus = [f"a GPU of compute capability {capability}" for capability in self.compute_capabilities]
        return " and ".join([*gpus, *([f"TensorRT {self.tensorrt}"] if self.tensorrt else [])])


@dataclass(frozen=True)
class ServedVersion:
    """One version of a model that would be loaded; `manifest` is None where there is none."""

    model: ModelFolder
    number: int
    manifest: Manifest | None

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.model.path / str(self.number)

    @property
    def subject(self) -> str:
        """What findings call it."""
        return f"model {self.model.name}, version {self.number}"

    def engine(self, file: str) -> EngineRecord | None:
        """Return what the manifest says of one of its files; None where it says nothing."""
        if self.manifest is None:
            return None
        names = self.model.config.cc_model_filenames.items()
        capability = next((capability for capability, name in names if name == file), None)
        return self.manifest.engine(file, default=file == self.model.model_file, compute_capability=capability)


@dataclass(frozen=True)
class Situation:
    """What the checks look at.

    Attributes:
        repository: the folder.
        models: what is in it.
        server: what is to serve it; None where another machine is to.
        triton_flags: what tritonserver is to be started with besides.
        target: the machine that is to serve it, where it is not this one.
        hash_engines: whether to compare the content of engines too, which takes as long as reading them.
    """

    repository: Path
    models: tuple[ModelFolder, ...]
    server: TritonServer | None
    triton_flags: tuple[str, ...] = ()
    target: Target | None = None
    hash_engines: bool = False

    @property
    def readable_models(self) -> list[ModelFolder]:
        """The models whose config could be read; the others have a finding of their own."""
        return [model for model in self.models if not model.problem]

    @property
    def python_models(self) -> list[ModelFolder]:
        """The models that run in Python processes here."""
        python = {"python", "onnxruntime"} if self.server and self.server.embedded else {"python"}
        return [model for model in self.readable_models if model.backend in python]

    @cached_property
    def served_versions(self) -> list[ServedVersion]:
        """The versions of every model but ensembles that would be loaded and are there."""
        return [
            ServedVersion(model, number, read_manifest(model.path / str(number)))
            for model in self.readable_models
            if not model.is_ensemble
            for number in model.served_versions
            if number in model.versions
        ]

    @cached_property
    def gpus(self) -> Gpus:
        """The GPUs that the server would see; asked for the first time, this runs nvidia-smi."""
        if self.target:
            capabilities = self.target.compute_capabilities
            if not capabilities:
                return Gpus(None, "no --gpu was given")
            return Gpus(tuple(Gpu(i, "--gpu", capability) for i, capability in enumerate(capabilities)))
        return find_gpus(server_environment(self.server)) if self.server else Gpus(None)

    @cached_property
    def tensorrt(self) -> str | None:
        """The version of the server's TensorRT, e.g. "11.3.0"; None where it is not known."""
        if self.target:
            return self.target.tensorrt
        return find_tensorrt(self.server, server_environment(self.server)) if self.server else None

    @property
    def engine(self) -> str:
        """What runs the network: "tensorrt" where a model says so, else "onnxruntime"."""
        tensorrt = any(model.backend == "tensorrt" for model in self.readable_models)
        return "tensorrt" if tensorrt else "onnxruntime"

    def build_command(self, engine: str | None = None) -> str:
        """Return the command that builds an engine of the same network into this repository."""
        return build_command(self.repository, engine or self.engine)


Check = Callable[[Situation], Iterator[Finding]]
