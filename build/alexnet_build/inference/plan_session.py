"""A plan file to a session, and what is said of a plan that does not load: the class ``PlanSession``.

In: ``model.plan``, and ``manifest.json`` beside it if there is one. Out: a ``Session`` on the GPU.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_build.errors import EngineError, MissingDependencyError
from alexnet_build.inference.device_session import DeviceSession
from alexnet_build.inference.plan_engine import PlanEngine


class PlanSession(DeviceSession):
    """A TensorRT plan on the GPU that it was built for.

    Args:
        plan: Its file, or its bytes.
        slots: Batches in flight at once.
        graph_batch_sizes: Batch sizes that are recorded into CUDA graphs; see ``DeviceSession``.
        trust: Load a version-compatible plan, too; it holds code that runs on this machine's processor.
        builder: ``tensorrt``, or another module with its API.

    Raises:
        MissingDependencyError: There is no GPU or no TensorRT.
        EngineError: The plan is for another GPU or TensorRT, or is no plan of ours; says which and how to rebuild.
    """

    def __init__(
        self,
        plan: Path | bytes,
        *,
        slots: int = 2,
        graph_batch_sizes: Sequence[int] | None = None,
        trust: bool = False,
        builder: str = "tensorrt",
    ) -> None:
        self._plan_engine = load_plan(plan, trust=trust, builder=builder)
        super().__init__(self._plan_engine, slots=slots, graph_batch_sizes=graph_batch_sizes)

    def close(self) -> None:
        """Wait for what is in flight, then free buffers, graphs and the engine; see ``Session.close``."""
        super().close()
        self._plan_engine.close()


def load_plan(plan: Path | bytes, *, trust: bool = False, builder: str = "tensorrt") -> PlanEngine:
    """Load a plan, and if that fails, say what it is.

    Raises:
        MissingDependencyError: There is no GPU or no TensorRT.
        EngineError: The plan does not fit this machine.
    """
    if isinstance(plan, bytes):
        return PlanEngine(plan, trust=trust, builder=builder)
    try:
        return PlanEngine(plan.read_bytes(), source=str(plan), trust=trust, builder=builder)
    except (EngineError, MissingDependencyError) as error:
        raise type(error)(f"{error}. {plan_described(plan)}") from error


def plan_described(plan: Path) -> str:
    """What a plan is by the manifest beside it, and the command that builds it again; a sentence or two."""
    facts = _manifest_entry(plan)
    if facts is None:
        return (
            "No manifest.json beside it says what it was built for. Build one for this machine with: "
            "alexnet-build repository --engine tensorrt --output DIR"
        )
    versions = [f"TensorRT {facts['builder_version']}"] if facts.get("builder_version") else []
    capability = [f"compute capability {facts['compute_capability']}"] if facts.get("compute_capability") else []
    parts = [" and ".join(capability + versions) or "an unknown GPU and TensorRT"]
    if facts.get("hardware_compatibility") == "ampere_plus":
        parts.append("it runs on compute capability 8.0 and newer")
    if facts.get("version_compatible"):
        parts.append("it is version-compatible and holds code for this machine's processor: open it with trust=True")
    command = facts.get("command") or "alexnet-build repository --engine tensorrt --output DIR"
    return f"By its manifest it was built for {'; '.join(parts)}. Build it again on this machine with: {command}"


def _manifest_entry(plan: Path) -> dict[str, Any] | None:
    """What ``manifest.json`` in the plan's folder says of this file; None where it says nothing."""
    try:
        manifest = json.loads((plan.parent / "manifest.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict):
        return None
    entries = [*manifest.get("other_gpus", ()), manifest]  # model.plan may be another name of one of the others
    named = [entry for entry in entries if entry.get("file", "model.plan") == plan.name]
    return named[0] if named else None
