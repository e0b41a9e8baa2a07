"""The networks that are measured, as ONNX files for ONNX Runtime on the CPU, and repositories around them.

In: ``demo`` or ``imagenet``. Out: the network in FP32 and in INT8, in a model repository each. Called by serving.py.

``imagenet`` is torchvision's AlexNet, 224 pixels and 1000 classes, with random weights: the same arithmetic as with the
trained ones, which have to be downloaded. Nothing here is verified or published: these repositories have no manifest.
Files are kept in the cache folder under a hash of the code that makes them.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Literal

from alexnet_build.configs import Accelerator, ServingSpec
from alexnet_build.network import network_from_spec
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.precision.calibration import calibration_pixels
from alexnet_build.precision.int8_for_cpu import int8_for_cpu
from alexnet_build.precision.qdq_from_onnx import layers_of
from alexnet_build.repository import write_files
from alexnet_build.verify import PHOTOGRAPHS
from alexnet_build.weights import TrainedNetwork, load_weights

NetworkName = Literal["demo", "imagenet"]
PRECISIONS = ("fp32", "int8")


def write_repository(
    name: NetworkName, precision: str, repository: Path, cache: Path, accelerator: Accelerator | None = "openvino"
) -> Path:
    """Write a model repository with a network in it; returns the network's file."""
    trained = network_by_name(name)
    content = network_file(name, trained, precision, cache).read_bytes()
    spec = trained.spec
    serving = ServingSpec("onnxruntime", spec.image_size, spec.classes, spec.resize_short_side, accelerator=accelerator)
    write_files(repository, serving, spec)
    network = repository / "alexnet" / "1" / "model.onnx"
    network.parent.mkdir(parents=True)
    network.write_bytes(content)
    return network


def network_by_name(name: NetworkName) -> TrainedNetwork:
    """The demo network with its weights, or ImageNet's with random ones, the same every time."""
    if name == "demo":
        return load_weights("demo")
    import torch
    from alexnet_build.weights_imagenet import imagenet_spec

    torch.manual_seed(0)
    spec = imagenet_spec()
    return TrainedNetwork(spec, network_from_spec(spec).eval(), "random weights")


def network_file(name: NetworkName, trained: TrainedNetwork, precision: str, cache: Path) -> Path:
    """Return the cached ONNX file, made if it is not there."""
    path = cache / f"{name}-{precision}-{code_hash()}.onnx"
    if path.exists():
        return path
    print(f"exporting {name} in {precision}", file=sys.stderr, flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    if precision == "fp32":
        onnx_from_network(trained, partial)
    else:
        quantise(trained, network_file(name, trained, "fp32", cache), partial)
    partial.rename(path)
    return path


def quantise(trained: TrainedNetwork, exact: Path, output: Path) -> None:
    """Write the INT8 graph with the last layer in FP32, which is how the builder leaves it."""
    import onnx

    pixels = calibration_pixels(sorted(PHOTOGRAPHS.glob("*.jpg")), trained.spec)
    last = layers_of(onnx.load(str(exact)))[-1].node.name
    int8_for_cpu(exact, pixels, output, keep=[last])


def code_hash() -> str:
    """A hash of the modules that decide what is in the files."""
    modules = (network_from_spec, onnx_from_network, calibration_pixels, int8_for_cpu, quantise)
    files = sorted({module.__code__.co_filename for module in modules})
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:12]
