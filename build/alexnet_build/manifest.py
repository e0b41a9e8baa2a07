"""What is known of an engine, as plain values for ``manifest.json`` beside it.

In: a network and its engine, and what the version before held for other GPUs. Out: a dict. Written by ``repository``;
read by ``alexnet-server check``, by the container's builder, and here, when the next version is published.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alexnet_build import __version__
from alexnet_build.configs import ENGINE_FILES
from alexnet_build.engine import Engine
from alexnet_build.tensors import EMBEDDINGS, PIXELS, PROBABILITIES
from alexnet_build.weights import TrainedNetwork

MANIFEST_FILE = "manifest.json"

#: What is said of each plan of a version; the rest of a manifest is common to all of them.
_OF_A_PLAN = (
    "file", "engine_sha256", "engine_bytes", "builder_version", "compute_capability", "hardware_compatibility",
    "version_compatible", "precision", "min_batch", "max_batch", "onnx_sha256", "parity", "onnx_parity", "quantised",
    "made_by", "made_at", "command",
)  # fmt: skip


@dataclass(frozen=True)
class PlanForOtherGpu:
    """A plan of an earlier version that the next one holds as well.

    Attributes:
        source: The file.
        entry: What the manifest says of it; its ``file`` is the name in the next version.
    """

    source: Path
    entry: dict[str, Any]

    @property
    def compute_capability(self) -> str:
        """Of the GPU that it was built on, e.g. ``8.6``."""
        return str(self.entry["compute_capability"])


def manifest(
    trained: TrainedNetwork, engine: Engine, command: str, others: Sequence[PlanForOtherGpu] = ()
) -> dict[str, Any]:
    """Everything that is known of a version.

    Args:
        trained: The network.
        engine: The engine that was just made.
        command: The command line that makes it again.
        others: The plans for other GPUs beside it.
    """
    spec = trained.spec
    tensors = [
        {"name": PIXELS, "kind": "input", "type": "TYPE_UINT8", "dims": [spec.image_size, spec.image_size, 3]},
        {"name": PROBABILITIES, "kind": "output", "type": "TYPE_FP32", "dims": [spec.classes]},
    ]
    embeddings = {}
    if engine.embeddings is not None:
        tensors.append({"name": EMBEDDINGS, "kind": "output", "type": "TYPE_FP32", "dims": [engine.embeddings.width]})
        embeddings = {"embeddings_parity": asdict(engine.embeddings)}
    return {
        "engine": engine.kind,
        "file": ENGINE_FILES[engine.kind],
        "engine_sha256": hashlib.sha256(engine.content).hexdigest(),
        "engine_bytes": len(engine.content),
        "builder_version": engine.builder_version,
        "accelerator": engine.accelerator,
        "accelerator_version": engine.accelerator_version,
        "compute_capability": engine.compute_capability,
        "hardware_compatibility": engine.hardware_compatibility,
        "version_compatible": engine.version_compatible,
        "precision": engine.precision,
        "min_batch": 1,
        "max_batch": engine.max_batch,
        "tensors": tensors,
        "onnx_sha256": engine.onnx_sha256,
        "weights": {
            "source": trained.source,
            "sha256": trained.sha256,
            "architecture": spec.architecture,
            "classes": spec.classes,
            "image_size": spec.image_size,
        },
        "parity": asdict(engine.parity),
        "onnx_parity": asdict(engine.onnx_parity) if engine.onnx_parity else None,
        **embeddings,
        "quantised": asdict(engine.quantised) if engine.quantised else None,
        "made_by": f"alexnet-triton {__version__}",
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "other_gpus": [other.entry for other in others],
    }


def plan_file(compute_capability: str) -> str:
    """The name of a plan in a version that holds several, e.g. ``model_sm86.plan``."""
    return f"model_sm{compute_capability.replace('.', '')}.plan"


def plans_for_other_gpus(model: Path, trained: TrainedNetwork, engine: Engine) -> list[PlanForOtherGpu]:
    """The newest version's plans that the next version can hold beside ``engine``: of the same weights, for other GPUs.

    Args:
        model: The folder of the model ``alexnet``.
        trained: The network.
        engine: The plan for this machine's GPU.
    """
    versions = versions_of(model)
    newest = read_manifest(model / str(versions[-1])) if versions else None
    if newest is None or newest.get("engine") != "tensorrt" or engine.kind != "tensorrt":
        return []
    others = []
    for values in (newest, *newest.get("other_gpus", ())):
        capability = values.get("compute_capability")
        source = model / str(versions[-1]) / values.get("file", ENGINE_FILES["tensorrt"])
        if capability in (None, engine.compute_capability) or not source.is_file():
            continue
        weights = newest.get("weights", {}).get("sha256")
        differs = {
            "weights": (weights, trained.sha256),
            "TensorRT": (values.get("builder_version"), engine.builder_version),
            "largest batch": (values.get("max_batch"), engine.max_batch),
        }
        reasons = [f"{what} {there}, here {here}" for what, (there, here) in differences_of(differs).items()]
        if reasons:
            print(
                f"the plan for compute capability {capability} is not kept, since it is of {'; '.join(reasons)}. On a "
                "GPU of that capability, build with the options of this build and --keep-other-gpus",
                file=sys.stderr,
            )
            continue
        entry = {key: values[key] for key in _OF_A_PLAN if key in values}
        others.append(PlanForOtherGpu(source, entry | {"file": plan_file(capability)}))
    return others


def differences_of(sides: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Those whose two sides differ."""
    return {what: (there, here) for what, (there, here) in sides.items() if there != here}


def read_manifest(version: Path) -> dict[str, Any] | None:
    """The manifest in a version's folder; None where there is none that can be read."""
    try:
        values = json.loads((version / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def versions_of(model: Path) -> list[int]:
    """The numeric versions of a model, ascending."""
    return sorted(int(entry.name) for entry in model.iterdir() if entry.name.isdecimal()) if model.is_dir() else []
