"""The ensemble that ours is measured against, with the same weights: baselines/one_image_a_request.

It is laid out as NVIDIA's published example of an ensemble with a Python preprocessing model (python_backend,
examples/preprocessing): one instance of each model, no batching; for each request Pillow decodes,
torchvision's transforms are built and run, and FP32 in NCHW goes to the network. Two things differ from the
example: a request carries its image as STRING instead of UINT8, so that one client speaks to both, and the
image is resized and cropped as ours is, so that both give the same answers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from configs import config_of, newest_network, write_config

TEMPLATE = Path(__file__).parent / "baselines" / "one_image_a_request"


def write_baseline(ours: Path, baseline: Path) -> None:
    """Write the baseline's repository with the network of ours.

    Args:
        ours: a repository that ``alexnet-build repository --engine onnxruntime`` made.
        baseline: a folder that is not there yet.
    """
    shutil.copytree(TEMPLATE, baseline, ignore=shutil.ignore_patterns(".gitkeep", "__pycache__"))
    shutil.copyfile(ours / "alexnet" / "labels.txt", baseline / "alexnet" / "labels.txt")
    size, _, channels = config_of(ours, "preprocess").output[0].dims
    classes = config_of(ours, "classifier").output[0].dims[0]
    dims = {"IMAGE": [1], "PIXELS": [channels, size, size], "PROBABILITIES": [classes]}
    for model in ("preprocess", "alexnet", "classifier"):
        (baseline / model / "1").mkdir(exist_ok=True)
        config = config_of(baseline, model)
        for tensor in (*config.input, *config.output):
            tensor.dims[:] = dims[tensor.name]
        write_config(baseline, config)
    write_float_network(newest_network(ours), baseline / "alexnet" / "1" / "model.onnx")


def write_float_network(path: Path, output: Path) -> None:
    """Cut everything in front of the first convolution off: FP32 NCHW in, probabilities out as before."""
    model = onnx.load(path)
    first = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Conv")
    network_input = model.graph.node[first].input[0]  # (N, 3, S, S) float32
    batch, size, _, channels = model.graph.input[0].type.tensor_type.shape.dim
    shape = [batch.dim_param, channels.dim_value, size.dim_value, size.dim_value]
    del model.graph.node[:first]
    for node in model.graph.node:
        node.input[:] = ["PIXELS" if name == network_input else name for name in node.input]
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("PIXELS", onnx.TensorProto.FLOAT, shape))
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, output)
