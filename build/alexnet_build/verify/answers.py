"""Ways to a network's probabilities: torch, which is right by definition, ONNX Runtime on the CPU, a live server.

In: a ``TrainedNetwork``, an ONNX file or an address. Out: functions from pixels to probabilities. Called by all that
compares.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.network import ServingGraph
from alexnet_build.tensors import ALEXNET, PIXELS, PROBABILITIES
from alexnet_build.weights import TrainedNetwork

#: (N, S, S, 3) uint8 pixels to (N, C) float32 probabilities.
Infer = Callable[[np.ndarray], np.ndarray]

_BATCH = 16
#: Of one batch at a live server, which may be loading or busy.
_DEADLINE_S = 60.0


def torch_probabilities(trained: TrainedNetwork, pixels: np.ndarray, batch_size: int = _BATCH) -> np.ndarray:
    """The reference: (N, C) float32 from torch in FP32 on the CPU."""
    import torch

    graph = ServingGraph(trained.network, trained.spec).eval()
    with torch.inference_mode():
        batches = [
            graph(torch.from_numpy(pixels[i : i + batch_size])).numpy() for i in range(0, len(pixels), batch_size)
        ]
    return np.concatenate(batches)


def onnxruntime_infer(onnx_file: Path) -> Infer:
    """The engine that ONNX Runtime makes of a file, on the CPU: what it serves.

    Raises:
        EngineError: ONNX Runtime cannot load it, or its input and output are not the contract's.
    """
    from alexnet_build.inference.onnx_session import OnnxSession

    return OnnxSession(onnx_file).infer


def triton_infer(url: str) -> Infer:
    """The engine that a live server runs: pixels go to its model ``alexnet`` over gRPC.

    Raises:
        EngineError: The server does not answer, has no such model, or answers with an error; a call raises it.
    """
    from tritonclient import grpc
    from tritonclient.utils import InferenceServerException

    client = grpc.InferenceServerClient(url)

    def infer(pixels: np.ndarray) -> np.ndarray:
        tensor = grpc.InferInput(PIXELS, list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(np.ascontiguousarray(pixels))
        try:
            return client.infer(ALEXNET, [tensor], client_timeout=_DEADLINE_S).as_numpy(PROBABILITIES)
        except InferenceServerException as error:
            raise EngineError(
                f"the server at {url} did not answer {len(pixels)} images: {error.message()}. "
                f"Look at it with: alexnet-client status --url {url}"
            ) from error

    return infer


def simulated_infer(onnx_file: Path) -> Infer:
    """What a graph for TensorRT says, computed on the CPU: rounded where the graph rounds, summed in FP32.

    ONNX Runtime would fuse quantisers into INT8 kernels of its own and round biases to multiples of an FP16 step that
    is too small for FP16, so fusing is off here. It has no kernels for BF16; there, weights and activations are
    rounded to BF16 and computed in FP32.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3  # errors; it warns that it cannot fold constants in FP16
    model = onnx.load(str(onnx_file))
    if any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in model.graph.initializer):
        _round_to_bf16_compute_in_fp32(model)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # they are no-ops to it
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def infer(pixels: np.ndarray) -> np.ndarray:
        starts = range(0, len(pixels), _BATCH)
        return np.concatenate([session.run([PROBABILITIES], {PIXELS: pixels[i : i + _BATCH]})[0] for i in starts])

    return infer


def _round_to_bf16_compute_in_fp32(model: Any) -> None:
    """Turn BF16 tensors into FP32 ones; behind what sums, put a cast to BF16 and back."""
    from onnx import TensorProto, helper, numpy_helper

    graph, nodes = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            rounded = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    for node in graph.node:
        to_bf16 = [a for a in node.attribute if a.name == "to" and a.i == TensorProto.BFLOAT16]
        for attribute in to_bf16:
            attribute.i = TensorProto.FLOAT
        name = node.output[0]
        if to_bf16 or node.op_type in ("Conv", "Gemm", "MatMul", "Add"):
            node.output[0] = f"{name}_exact"
            nodes += [
                node,
                helper.make_node("Cast", [f"{name}_exact"], [f"{name}_bf16"], to=TensorProto.BFLOAT16),
                helper.make_node("Cast", [f"{name}_bf16"], [name], to=TensorProto.FLOAT),
            ]
        else:
            nodes.append(node)
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(copies)
