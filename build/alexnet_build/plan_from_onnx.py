"""An ONNX file to a TensorRT plan.

In: ``model.onnx``. Out: serialised engine bytes for one GPU architecture and one TensorRT version. The network is
strongly typed: the precision of each layer is the graph's. The same code runs with TensorRT 10.13 and newer, with
TensorRT 11, and with TensorRT for RTX, which compiles ahead of time without a GPU and so checks this code anywhere.
"""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from alexnet_build.errors import EngineError, MissingDependencyError
from alexnet_build.tensors import PIXELS

OLDEST_TENSORRT = (10, 13)

#: On which other GPUs a plan runs: ``none``, those of its compute capability; ``same_compute_capability``, the same
#: with tactics that suit each of them; ``ampere_plus``, all of compute capability 8.0 and newer, with slower tactics.
HardwareCompatibility = Literal["none", "same_compute_capability", "ampere_plus"]


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is built.

    Attributes:
        max_batch: Largest batch that the plan accepts; the batch that it is tuned for as well. The smallest is 1.
        workspace_bytes: Most scratch memory that a layer's tactic may take on the GPU.
        timing_cache: File of measured tactics that makes the next build quicker; None for no cache.
        compute_capability: Target as (major, minor) where the plan is built without that GPU; TensorRT for RTX only.
        hardware_compatibility: On which other GPUs the plan runs.
        version_compatible: Let newer TensorRT run the plan as well. It then carries code of its own, which a server
            runs only with ``--backend-config=tensorrt,version-compatible=true``.
    """

    max_batch: int = 64
    workspace_bytes: int = 1 << 30
    timing_cache: Path | None = None
    compute_capability: tuple[int, int] | None = None
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False


@dataclass(frozen=True)
class Plan:
    """A serialised engine and what it fits.

    Attributes:
        content: The bytes of ``model.plan``.
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        version: Of the builder, e.g. ``10.16.1.11``.
        compute_capability: Of the GPU that the plan is for, e.g. ``8.6``.
        seconds: Time that the build took.
    """

    content: bytes
    builder: str
    version: str
    compute_capability: str
    seconds: float


def plan_from_onnx(onnx_file: Path, options: PlanOptions, *, builder: str = "tensorrt") -> Plan:
    """Build a plan.

    Args:
        onnx_file: The graph, with input ``PIXELS`` (N, S, S, 3) uint8.
        options: Batch range, memory, cache, target.
        builder: ``tensorrt``, or ``tensorrt_rtx`` to compile ahead of time without a GPU; the plans of the latter
            are not for Triton.

    Raises:
        MissingDependencyError: No TensorRT, one that is too old, or no GPU.
        EngineError: The parser or the builder refused the graph; carries what TensorRT said.
    """
    trt = import_tensorrt(builder)
    logger = _logger(trt)
    capability = options.compute_capability or compute_capability_here(builder)
    trt_builder = trt.Builder(logger)
    network = trt_builder.create_network(_network_flags(trt))
    _parse(trt, network, logger, onnx_file)
    config = trt_builder.create_builder_config()
    _configure(trt, trt_builder, config, network, options)
    if options.compute_capability is not None:
        _set_target(trt, config, options.compute_capability)
    print(
        f"building with {builder} {trt.__version__} for compute capability {capability[0]}.{capability[1]}, "
        f"batch 1 to {options.max_batch}, workspace at most {options.workspace_bytes >> 20} MiB, hardware "
        f"compatibility {options.hardware_compatibility}, version compatible: {options.version_compatible}",
        file=sys.stderr,
    )
    started = time.perf_counter()
    serialised = trt_builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - started
    if serialised is None:
        raise EngineError(f"TensorRT could not build {onnx_file}:\n  " + "\n  ".join(logger.messages))
    _save_timing_cache(config, options.timing_cache)
    print(f"built in {seconds:.1f} s", file=sys.stderr)
    return Plan(bytes(serialised), builder, trt.__version__, f"{capability[0]}.{capability[1]}", seconds)


def import_tensorrt(builder: str) -> ModuleType:
    """TensorRT's Python module.

    Raises:
        MissingDependencyError: It is not installed, or too old; says what to install or which container to use.
    """
    try:
        trt = importlib.import_module(builder)
    except ImportError as error:
        raise MissingDependencyError(
            f"--engine tensorrt needs the Python package {builder}, and it cannot be imported ({error}). Build inside "
            "the container: docker compose -f docker/compose.yaml run --rm builder; or install TensorRT of the "
            "version that your Triton container has: pip install --extra-index-url https://pypi.nvidia.com "
            "'tensorrt>=10.13,<12'. Without a GPU, build with --engine onnxruntime"
        ) from error
    version = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if builder == "tensorrt" and version < OLDEST_TENSORRT:
        raise MissingDependencyError(
            f"TensorRT {trt.__version__} is installed; expected 10.13 or newer. "
            "Install the version that your Triton container has, e.g. pip install 'tensorrt>=10.13,<12'"
        )
    return trt


def compute_capability_here(builder: str) -> tuple[int, int]:
    """Compute capability of the GPU of this machine.

    Raises:
        MissingDependencyError: There is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"--engine tensorrt tunes the plan on the GPU that will serve it, and {builder} finds none here. Run this "
            "on that machine, in a container with --gpus all, or build with --engine onnxruntime for the CPU"
        )
    return torch.cuda.get_device_capability()


def _network_flags(trt: ModuleType) -> int:
    """Strongly typed: asked for by a flag in TensorRT 10, the only way in TensorRT 11."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: ModuleType, network: Any, logger: Any, onnx_file: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file.read_bytes()):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        complaints = [f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in errors]
        raise EngineError(f"TensorRT cannot parse {onnx_file}:\n  " + "\n  ".join(complaints or logger.messages))


def _configure(trt: ModuleType, trt_builder: Any, config: Any, network: Any, options: PlanOptions) -> None:
    """One optimisation profile, a workspace limit, sparse kernels, the timing cache and a progress monitor."""
    pixels = network.get_input(0)
    if pixels.name != PIXELS:
        raise EngineError(f"the graph's input is called {pixels.name}; expected {PIXELS}")
    shape = tuple(pixels.shape)[1:]
    profile = trt_builder.create_optimization_profile()
    profile.set_shape(PIXELS, (1, *shape), (options.max_batch, *shape), (options.max_batch, *shape))
    config.add_optimization_profile(profile)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)  # where weights have 2:4 zeros, sparse kernels are timed, too
    config.clear_flag(trt.BuilderFlag.TF32)  # on unless cleared: FP32 layers would round their inputs to 11 bits
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.hardware_compatibility != "none":
        level = options.hardware_compatibility.upper()
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.timing_cache is not None:
        known = options.timing_cache.read_bytes() if options.timing_cache.is_file() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            print(f"{options.timing_cache} is of no use here (another TensorRT or GPU): starting anew", file=sys.stderr)
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    config.progress_monitor = _progress_monitor(trt)


def _set_target(trt: ModuleType, config: Any, capability: tuple[int, int]) -> None:
    name = f"SM{capability[0]}{capability[1]}"
    target = getattr(getattr(trt, "ComputeCapability", None), name, None)
    if target is None:
        raise EngineError(f"{trt.__name__} {trt.__version__} cannot build for {name} without that GPU")
    config.num_compute_capabilities = 1
    config.set_compute_capability(target, 0)


def _save_timing_cache(config: Any, path: Path | None) -> None:
    if path is None:
        return
    cache = config.get_timing_cache()
    if cache is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(cache.serialize()))


def _logger(trt: ModuleType) -> Any:
    class CollectingLogger(trt.ILogger):  # type: ignore[name-defined]
        """Keeps warnings and errors for the message of an exception; shows nothing itself."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                self.messages.append(message)

    return CollectingLogger()


def _progress_monitor(trt: ModuleType) -> Any:
    class ProgressMonitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        """Writes the builder's outermost phase and its step to a terminal."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.total: dict[str, int] = {}
            self.shown = sys.stderr.isatty()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.total[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self.shown and phase_name in self.total:
                print(
                    f"\r{phase_name}: {step + 1}/{self.total[phase_name]}   ",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
            return True  # go on; False would cancel the build

        def phase_finish(self, phase_name: str) -> None:
            if self.shown and self.total.pop(phase_name, None):
                print(file=sys.stderr)

    return ProgressMonitor()
