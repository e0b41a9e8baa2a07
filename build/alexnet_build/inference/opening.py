"""A file to the session that runs it: the function ``open_session``.

In: ``model.plan`` or ``model.onnx``. Out: a ``Session``. Nothing heavy is imported before the file's kind is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet_build.errors import EngineError
from alexnet_build.inference.session import Session


def open_session(
    path: Path | str,
    *,
    threads: int | None = None,
    max_batch: int | None = None,
    slots: int | None = None,
    graph_batch_sizes: Sequence[int] | None = None,
    trust: bool = False,
) -> Session:
    """Load a plan or an ONNX file.

    Args:
        path: ``.plan`` or ``.engine`` for TensorRT on the GPU; ``.onnx`` for ONNX Runtime on the CPU.
        threads: ONNX: threads that compute one batch together; without it, one a core.
        max_batch: ONNX: largest batch of one run, 64 without it. A plan has its own.
        slots: Plan: batches in flight at once, 2 without it.
        graph_batch_sizes: Plan: batch sizes that are recorded into CUDA graphs; see ``DeviceSession``.
        trust: Plan: load a version-compatible one, too; it holds code that runs on this machine's processor.

    Raises:
        MissingDependencyError: A library or a GPU is missing.
        EngineError: There is no such file, its kind is unknown, or it does not load; or an option is not for its kind.
    """
    path = Path(path)
    if not path.is_file():
        raise EngineError(f"there is no file {path}; expected a .plan or an .onnx file")
    for_plans = {"slots": slots, "graph_batch_sizes": graph_batch_sizes, "trust": trust or None}
    for_onnx = {"threads": threads, "max_batch": max_batch}
    if path.suffix in (".plan", ".engine"):
        _refuse(for_onnx, path, "a plan")
        from alexnet_build.inference.plan_session import PlanSession

        return PlanSession(path, slots=slots or 2, graph_batch_sizes=graph_batch_sizes, trust=trust)
    if path.suffix == ".onnx":
        _refuse(for_plans, path, "an ONNX file")
        from alexnet_build.inference.onnx_session import OnnxSession

        return OnnxSession(path, threads=threads, max_batch=max_batch or 64)
    raise EngineError(f"{path} has an unknown ending; expected .plan or .engine for TensorRT, or .onnx")


def _refuse(options: Mapping[str, object], path: Path, kind: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise EngineError(f"{', '.join(given)} cannot be set for {kind} such as {path}")
