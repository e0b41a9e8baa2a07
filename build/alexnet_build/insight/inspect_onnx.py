"""An ONNX file on the CPU, looked into: the function ``inspect_onnx``.

In: ``model.onnx``. Out: an ``Inspection``: the nodes that ONNX Runtime makes of it with the time of each, latency and
throughput without the profiler, memory, and the processor's ceilings. Called by ``alexnet-build inspect``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from alexnet_build.errors import EngineError
from alexnet_build.inference.onnx_session import OnnxSession
from alexnet_build.insight.ceilings import device_name, highest, measured_ceilings
from alexnet_build.insight.inspection import DEFAULT_BATCH_SIZES, Inspection, InspectOptions
from alexnet_build.insight.latency import random_pixels, timing
from alexnet_build.insight.layers import Layer
from alexnet_build.insight.memory import resident_bytes
from alexnet_build.insight.onnx_layers import layers_from_profile, nodes_from_graph
from alexnet_build.tensors import PIXELS

_WARM_UP = 2


def inspect_onnx(onnx_file: Path, options: InspectOptions) -> Inspection:
    """Run a file with and without ONNX Runtime's profiler.

    Raises:
        EngineError: ONNX Runtime cannot load the file, or it is none of ours.
    """
    import onnxruntime

    sizes = options.batch_sizes or DEFAULT_BATCH_SIZES
    print("measuring the processor's ceilings, before and after", file=sys.stderr)
    cpu = torch.device("cpu")
    ceilings = measured_ceilings(cpu, options.threads)
    before = resident_bytes()
    session = OnnxSession(onnx_file, threads=options.threads, max_batch=max(sizes))
    loaded = resident_bytes()
    with session:
        timings = []
        for batch_size in sizes:
            print(f"timing batches of {batch_size}", file=sys.stderr)
            timings.append(timing(session, batch_size, options.repeats))
        ran = resident_bytes()
    print("profiling the nodes", file=sys.stderr)
    layers = profiled_layers(onnx_file, session.image_size, sizes, options)
    memory = {
        "file": onnx_file.stat().st_size,
        "weights": sum(layer.weights_bytes for layer in next(iter(layers.values()))),
        "resident for the session": loaded - before,
        "resident after the largest batch": ran - before,
    }
    precisions = {"FP32", *(layer.precision for layer in layers[max(layers)] if layer.intensity)}
    return Inspection(
        source=str(onnx_file),
        engine=f"ONNX Runtime {onnxruntime.__version__}",
        device=f"{device_name(None)}, {options.threads} thread{'s' * (options.threads > 1)}",
        image_size=session.image_size,
        classes=session.classes,
        repeats=options.repeats,
        timings=tuple(timings),
        layers=layers,
        memory=memory,
        facts={"nodes after optimisation": str(len(next(iter(layers.values()))))},
        ceilings=highest(ceilings, measured_ceilings(cpu, options.threads), precisions),
    )


def profiled_layers(
    onnx_file: Path, image_size: int, sizes: Sequence[int], options: InspectOptions
) -> Mapping[int, tuple[Layer, ...]]:
    """Run the file under ONNX Runtime's profiler; the layers by batch size.

    Raises:
        EngineError: The profile is not what was run.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 3  # that the optimised graph is for this machine alone is known
    with tempfile.TemporaryDirectory() as scratch:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(scratch) / "profile")
        settings.optimized_model_filepath = str(Path(scratch) / "optimised.onnx")
        session = onnxruntime.InferenceSession(str(onnx_file), settings, providers=["CPUExecutionProvider"])
        runs: list[int | None] = []
        for batch_size in sizes:
            inputs = random_pixels(image_size, batch_size)
            for index in range(_WARM_UP + options.repeats):
                session.run(None, {PIXELS: inputs[index % len(inputs)]})
                runs.append(None if index < _WARM_UP else batch_size)
        events = json.loads(Path(session.end_profiling()).read_text())
        try:
            return layers_from_profile(events, nodes_from_graph(Path(settings.optimized_model_filepath)), runs)
        except ValueError as error:
            raise EngineError(f"ONNX Runtime's profile of {onnx_file} cannot be read: {error}") from error
