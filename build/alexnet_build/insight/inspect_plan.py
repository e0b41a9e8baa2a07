"""A TensorRT plan on its GPU, looked into: the function ``inspect_plan``.

In: ``model.plan``. Out: an ``Inspection``: the layers after fusion with precision, tactic and time, latency and
throughput with and without CUDA graphs, memory, and the card's ceilings. Called by ``alexnet-build inspect``.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from alexnet_build.errors import EngineError
from alexnet_build.inference.device_session import DeviceSession
from alexnet_build.inference.plan_engine import PlanEngine
from alexnet_build.inference.plan_session import load_plan
from alexnet_build.insight.ceilings import device_name, highest, measured_ceilings
from alexnet_build.insight.inspection import Inspection, InspectOptions
from alexnet_build.insight.latency import random_pixels, timing
from alexnet_build.insight.layers import Layer
from alexnet_build.insight.memory import used_gpu_bytes
from alexnet_build.insight.plan_layers import layers_from_inspector, unique_names
from alexnet_build.insight.published import published_ceilings

_WARM_UP = 3


def inspect_plan(plan: Path, options: InspectOptions, *, trust: bool = False, builder: str = "tensorrt") -> Inspection:
    """Load a plan, look into it, and run it with and without CUDA graphs and with the profiler.

    Raises:
        MissingDependencyError: There is no GPU or no TensorRT.
        EngineError: The plan does not fit this machine, or not these batch sizes.
    """
    before = used_gpu_bytes() if torch.cuda.is_available() else 0
    engine = load_plan(plan, trust=trust, builder=builder)
    loaded, device = used_gpu_bytes(), engine.device
    sizes = options.sizes_within(engine.min_batch, engine.max_batch, engine.source)
    print("measuring the card's ceilings, before and after", file=sys.stderr)
    ceilings = measured_ceilings(device, options.threads)
    torch.cuda.empty_cache()  # so that the memory of the GPU is what the engine takes
    with DeviceSession(engine, graph_batch_sizes=sizes) as session:
        timings = []
        for batch_size in sizes:
            print(f"timing batches of {batch_size}", file=sys.stderr)
            timings.append(timing(session, batch_size, options.repeats))
        ran = used_gpu_bytes()
    layers = {}
    for batch_size in sizes:
        print(f"profiling the layers of a batch of {batch_size}", file=sys.stderr)
        layers[batch_size] = profiled_layers(engine, batch_size, options.repeats)
    precisions = {"FP32", "TF32", *(layer.precision for layer in layers[max(layers)])}
    return Inspection(
        source=str(plan),
        engine=f"TensorRT {engine.trt.__version__}",
        device=device_name(device),
        image_size=engine.image_size,
        classes=engine.classes,
        repeats=options.repeats,
        timings=tuple(timings),
        layers=layers,
        memory={
            "file": plan.stat().st_size,
            "weights": sum(layer.weights_bytes for layer in layers[max(layers)]),
            "scratch of one batch in flight": engine.engine.device_memory_size_v2,
            "of the GPU, for the loaded plan": loaded - before,
            "of the GPU, with batches in flight": ran - before,
        },
        facts=_facts(engine),
        ceilings=highest(ceilings, measured_ceilings(device, options.threads), precisions),
        published=published_ceilings(device_name(device)),
    )


def profiled_layers(engine: PlanEngine, batch_size: int, repeats: int) -> tuple[Layer, ...]:
    """The inspector's layers at a batch size, each with its median time by TensorRT's profiler."""
    stream = torch.cuda.Stream(engine.device)
    with torch.cuda.stream(stream):
        enqueue = engine.enqueuer(())
        batches = [
            torch.from_numpy(pixels).to(engine.device) for pixels in random_pixels(engine.image_size, batch_size)
        ]
        probabilities = torch.empty((batch_size, engine.classes), device=engine.device)
    context = enqueue.context_for(batch_size)
    profiler = _profiler(engine.trt)
    runs: dict[str, list[float]] = {}
    for index in range(_WARM_UP + repeats):
        if index == _WARM_UP:
            context.profiler = profiler  # with it, each run waits for its end and reports
        enqueue.enqueue(batches[index % len(batches)], probabilities, stream)
        stream.synchronize()
        for name, milliseconds in profiler.take_run():
            runs.setdefault(name, []).append(milliseconds)
    times = {name: statistics.median(values) for name, values in runs.items()}
    inspector = engine.engine.create_engine_inspector()
    inspector.execution_context = context  # now that its shapes are set, dimensions are known
    text = inspector.get_engine_information(engine.trt.LayerInformationFormat.JSON)
    layers = [
        dataclasses.replace(layer, milliseconds=times.pop(layer.name, None), precision=_precision(layer))
        for layer in layers_from_inspector(text)
    ]
    if not any(layer.milliseconds for layer in layers):
        raise EngineError(
            f"the profiler of TensorRT {engine.trt.__version__} timed {', '.join(times) or 'nothing'}, and none of the "
            f"{len(layers)} layers that its inspector names in {engine.source}"
        )
    layers += [Layer(name, "other", "", "", (), (), 0, 0, time) for name, time in times.items()]  # of no named layer
    return tuple(layers)


def _precision(layer: Layer) -> str:
    """FP32 by the tensors is TF32 by the kernel, where the tactic says so: TensorRT allows it by default."""
    return "TF32" if layer.precision == "FP32" and "tf32" in layer.tactic else layer.precision


def _facts(engine: PlanEngine) -> dict[str, str]:
    return {
        "layers after fusion": str(engine.engine.num_layers),
        "batch range": f"{engine.min_batch} to {engine.max_batch}",
        "auxiliary streams": str(engine.engine.num_aux_streams),
        "profiling verbosity": engine.engine.profiling_verbosity.name,
        "hardware compatibility": engine.engine.hardware_compatibility_level.name,
    }


def _profiler(trt: ModuleType) -> Any:
    class LayerTimes(trt.IProfiler):  # type: ignore[name-defined]
        """Collects what TensorRT reports after each run, layer by layer."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self._reported: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self._reported.append((layer_name, ms))

        def take_run(self) -> list[tuple[str, float]]:
            names = unique_names([name for name, _ in self._reported])
            run = [(name, ms) for name, (_, ms) in zip(names, self._reported, strict=True)]
            self._reported.clear()
            return run

    return LayerTimes()
