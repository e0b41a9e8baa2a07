"""manifest.json of a version's folder in; what it says of the engines there, out. The checks ask for it.

The builder writes it next to an engine. What a manifest lacks, an older one say, is None here, and a check that
would need it says nothing. An engine that somebody else made has no manifest at all.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from alexnet_server.json_fields import Fields

MANIFEST_FILE = "manifest.json"
_CAPABILITY = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class EngineRecord:
    """One engine of a version, as the manifest describes it.

    Attributes:
        file: its name in the version's folder; None in manifests that do not say.
        size: bytes.
        sha256: of the file, hexadecimal.
        builder_version: of the TensorRT or ONNX Runtime that built it, e.g. "11.3.0.99".
        compute_capability: of the GPU it was built on, e.g. "8.6".
        hardware_compatibility: "none", "same_compute_capability" or "ampere_plus".
        version_compatible: whether it carries a runtime of its own for newer versions of TensorRT.
        min_batch: the smallest batch it runs.
        max_batch: the largest batch it runs.
        command: the command line that builds it again.
    """

    file: str | None
    size: int | None
    sha256: str | None
    builder_version: str | None
    compute_capability: str | None
    hardware_compatibility: str
    version_compatible: bool
    min_batch: int | None
    max_batch: int | None
    command: str | None

    def runs_on(self, compute_capability: str) -> bool | None:
        """Whether GPUs of a compute capability, e.g. "8.6", can run it; None where the manifest does not say.

        TensorRT's ampere_plus engines run on compute capability 8.0 and newer, others on that of the GPU that
        built them (Engine Compatibility, in TensorRT's documentation).
        """
        if self.hardware_compatibility == "ampere_plus":
            return capability_numbers(compute_capability) >= (8, 0)
        if self.hardware_compatibility not in ("none", "same_compute_capability") or not self.compute_capability:
            return None
        return self.compute_capability == compute_capability

    @property
    def runs_where(self) -> str:
        """The compute capabilities it runs on, in words."""
        if self.hardware_compatibility == "ampere_plus":
            return "compute capability 8.0 and newer"
        return f"compute capability {self.compute_capability}"


@dataclass(frozen=True)
class TensorRecord:
    """One input or output of the engines: dims without the batch, the type as configs write it."""

    name: str
    kind: str
    type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """What one manifest.json says.

    Attributes:
        path: the file.
        backend: what runs its engines, "tensorrt" or "onnxruntime".
        engines: the one that the manifest is about, then those for other GPUs.
        tensors: inputs and outputs; None where it does not say.
        classes: how many classes the weights tell apart.
        problems: why it, or a part of it, cannot be understood; empty in a sound one.
    """

    path: Path
    backend: str | None = None
    engines: tuple[EngineRecord, ...] = ()
    tensors: tuple[TensorRecord, ...] | None = None
    classes: int | None = None
    problems: tuple[str, ...] = ()

    def engine(self, file: str, *, default: bool, compute_capability: str | None = None) -> EngineRecord | None:
        """Return what is known of the engine in a file of the version's folder; None for one not described.

        The engine that the manifest is about may be there under two names, the default one and one for its GPU: as a
        hard link, or after a copy as two files.

        Args:
            file: its name.
            default: whether it is what GPUs load that have no engine of their own.
            compute_capability: of the GPUs that it is named for.
        """
        for engine in self.engines:
            if engine.file == file:
                return engine
        for engine in self.engines:
            if engine.file and _same_file(self.path.parent / file, self.path.parent / engine.file):
                return engine
        if default and self.engines:
            return self.engines[0]
        named = [engine for engine in self.engines if engine.compute_capability == compute_capability]
        return named[0] if named and compute_capability else None


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a version's folder; None if there is none, or this user may not read it."""
    path = folder / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, PermissionError):  # what cannot be read is found by a check of its own
        return None
    except OSError as error:
        return Manifest(path, problems=(f"it cannot be read: {error.strerror}",))
    except ValueError as error:
        return Manifest(path, problems=(f"it is not JSON: {error}",))
    if not isinstance(values, dict):
        return Manifest(path, problems=(f"it is a {type(values).__name__}, not an object",))
    fields = Fields(values)
    weights = Fields(fields.take("weights", dict) or {}, "weights.", fields.problems)
    others = [item for item in fields.take("other_gpus", list) or [] if isinstance(item, dict)]
    engines = [
        _engine(Fields(item, where, fields.problems))
        for where, item in [("", values), *((f"other_gpus[{i}].", other) for i, other in enumerate(others))]
    ]
    return Manifest(
        path,
        fields.take("engine", str),
        tuple(engines),
        _tensors(fields),
        weights.take("classes", int),
        tuple(dict.fromkeys(fields.problems)),
    )


def capability_numbers(compute_capability: str) -> tuple[int, int]:
    """Return a compute capability as numbers that compare, (8, 6) for "8.6"."""
    major, minor = compute_capability.split(".")
    return int(major), int(minor)


def _engine(fields: Fields) -> EngineRecord:
    capability = fields.take("compute_capability", str)
    if capability and not _CAPABILITY.fullmatch(capability):
        fields.problems.append(f"compute_capability is {capability!r}, not like 8.6")
        capability = None
    record = EngineRecord(
        file=fields.take("file", str),
        size=fields.take("engine_bytes", int),
        sha256=fields.take("engine_sha256", str),
        builder_version=fields.take("builder_version", str),
        compute_capability=capability,
        hardware_compatibility=fields.take("hardware_compatibility", str) or "none",
        version_compatible=fields.take("version_compatible", bool) or False,
        min_batch=fields.take("min_batch", int),
        max_batch=fields.take("max_batch", int),
        command=fields.take("command", str),
    )
    if record.min_batch is not None and record.max_batch is not None and record.min_batch > record.max_batch:
        fields.problems.append(f"min_batch is {record.min_batch}, above max_batch, {record.max_batch}")
    return record


def _tensors(fields: Fields) -> tuple[TensorRecord, ...] | None:
    listed = fields.take("tensors", list)
    if listed is None:
        return None
    try:
        return tuple(
            TensorRecord(str(t["name"]), str(t["kind"]), str(t["type"]), tuple(int(size) for size in t["dims"]))
            for t in listed
        )
    except (KeyError, TypeError, ValueError):
        fields.problems.append("tensors is not a list of objects with name, kind, type and dims")
        return None


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return False
