"""A network in torch, looked into: the function ``inspect_torch``.

In: a ``TrainedNetwork``. Out: an ``Inspection`` on the GPU if there is one, else on the CPU: what the network costs
before any engine has done anything for it. Called by ``alexnet-build inspect``.
"""

from __future__ import annotations

import sys
from typing import Literal

import torch

from alexnet_build.inference.device_session import DeviceSession
from alexnet_build.inference.torch_engine import TorchEngine
from alexnet_build.insight.ceilings import device_name, highest, measured_ceilings
from alexnet_build.insight.inspection import DEFAULT_BATCH_SIZES, Inspection, InspectOptions
from alexnet_build.insight.latency import random_pixels, timing
from alexnet_build.insight.memory import resident_bytes, used_gpu_bytes
from alexnet_build.insight.published import published_ceilings
from alexnet_build.insight.torch_layers import timed_layers
from alexnet_build.training.evaluate import exact_fp32
from alexnet_build.weights import TrainedNetwork


def inspect_torch(trained: TrainedNetwork, precision: Literal["fp32", "fp16"], options: InspectOptions) -> Inspection:
    """Run a network in torch; FP32 is exact FP32, without TF32.

    Raises:
        EngineError: FP16 without a GPU.
    """
    sizes = options.batch_sizes or DEFAULT_BATCH_SIZES
    before = resident_bytes()
    engine = TorchEngine(trained, max_batch=max(sizes), precision=precision)
    device = engine.device
    print("measuring the ceilings, before and after", file=sys.stderr)
    ceilings = measured_ceilings(device, options.threads)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()  # so that the memory of the GPU is what the network takes
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        with exact_fp32(), DeviceSession(engine) as session:
            timings = []
            for batch_size in sizes:
                print(f"timing batches of {batch_size}", file=sys.stderr)
                timings.append(timing(session, batch_size, options.repeats))
            taken = {"of the GPU, with batches in flight": used_gpu_bytes()} if on_gpu else {}
            layers = {}
            for batch_size in sizes:
                batches = [torch.from_numpy(p).to(device) for p in random_pixels(engine.image_size, batch_size)]
                layers[batch_size] = timed_layers(engine.graph, batches, options.repeats)
        ran = resident_bytes()
    finally:
        torch.set_num_threads(threads)
    precisions = {"FP32", *(layer.precision for layer in layers[max(layers)] if layer.intensity)}
    memory = {
        "weights": sum(parameter.nbytes for parameter in engine.graph.parameters()),
        "resident after the largest batch": ran - before,
        **taken,
    }
    where = "" if on_gpu else f", {options.threads} thread{'s' * (options.threads > 1)}"
    return Inspection(
        source=trained.source,
        engine=f"torch {torch.__version__}, {precision}",
        device=device_name(device) + where,
        image_size=engine.image_size,
        classes=engine.classes,
        repeats=options.repeats,
        timings=tuple(timings),
        layers=layers,
        memory=memory,
        facts={"operations": str(len(layers[max(layers)]))},
        ceilings=highest(ceilings, measured_ceilings(device, options.threads), precisions),
        published=published_ceilings(device_name(device)) if on_gpu else None,
    )
