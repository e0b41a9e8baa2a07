"""Ways to a network's probabilities: torch, which is right by definition, ONNX Runtime and OpenVINO on the CPU, a live
server.

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


def openvino_infer(onnx_file: Path, output: str = PROBABILITIES) -> Infer:
    """The engine that OpenVINO makes of a file, on the CPU, in FP32 or INT8 as the graph says: what it serves.

    Args:
        onnx_file: The graph.
        output: Which of its outputs.

    Raises:
        EngineError: OpenVINO is not installed, or cannot load the file.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            f"OpenVINO is not installed ({error}). Next: python -m pip install openvino, or --accelerator none"
        ) from error
    try:
        network = openvino.Core().compile_model(onnx_file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot load {onnx_file}: {error}. Next: --accelerator none") from error

    def infer(pixels: np.ndarray) -> np.ndarray:
        starts = range(0, len(pixels), _BATCH)
        return np.concatenate([network({PIXELS: pixels[start : start + _BATCH]})[output] for start in starts])

    return infer


def triton_infer(url: str) -> tuple[Infer, int]:
    """The engine that a live server runs, and its largest batch: pixels go to its model ``alexnet`` over gRPC.

    Raises:
        EngineError: The server does not answer, has no such model, or answers with an error; a call raises it.
    """
    from tritonclient import grpc
    from tritonclient.utils import InferenceServerException

    client = grpc.InferenceServerClient(url)
    next_command = f"Look at it with: alexnet-client status --url {url}"
    try:
        config = client.get_model_config(ALEXNET, client_timeout=_DEADLINE_S).config
    except InferenceServerException as error:
        raise EngineError(f"the server at {url} did not answer: {error.message()}. {next_command}") from error

    def infer(pixels: np.ndarray) -> np.ndarray:
        tensor = grpc.InferInput(PIXELS, list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(np.ascontiguousarray(pixels))
        try:
            return client.infer(ALEXNET, [tensor], client_timeout=_DEADLINE_S).as_numpy(PROBABILITIES)
        except InferenceServerException as error:
            raise EngineError(
                f"the server at {url} did not answer {len(pixels)} images: {error.message()}. {next_command}"
            ) from error

    return infer, config.max_batch_size


def graph_infer(onnx_file: Path) -> Infer:
    """A graph on the CPU: as ONNX Runtime serves it, or, if it computes in 16 bits, as TensorRT would, see below."""
    import onnx

    model = onnx.load(str(onnx_file))
    return simulated_infer(onnx_file) if _half_types(model) else onnxruntime_infer(onnx_file)


def simulated_infer(onnx_file: Path) -> Infer:
    """What a graph for TensorRT says, computed on the CPU: rounded as often as the graph rounds, summed in FP32.

    Left to itself, ONNX Runtime computes FP16 in FP32 from one end to the other, and has no kernels for BF16: here
    every result is rounded to the type that the graph gives it. It would also fuse quantisers into INT8 kernels of its
    own and round biases to multiples of a step that is too small for FP16; fusing is off.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3  # errors; it warns that it cannot fold constants in FP16
    model = onnx.load(str(onnx_file))
    for half in _half_types(model):
        _round_and_compute_in_fp32(model, half)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it would drop the casts
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def infer(pixels: np.ndarray) -> np.ndarray:
        starts = range(0, len(pixels), _BATCH)
        return np.concatenate([session.run([PROBABILITIES], {PIXELS: pixels[i : i + _BATCH]})[0] for i in starts])

    return infer


def _half_types(model: Any) -> list[int]:
    """The types of 16 bits that a graph has weights or scales in."""
    from onnx import TensorProto

    used = {tensor.data_type for tensor in model.graph.initializer}
    return [half for half in (TensorProto.FLOAT16, TensorProto.BFLOAT16) if half in used]


#: What moves or selects values of 16 bits, or makes others of them: no rounding of its own.
_EXACT = ("Relu", "MaxPool", "Reshape", "Flatten", "Transpose", "Identity", "QuantizeLinear", "Shape")


def _round_and_compute_in_fp32(model: Any, half: int) -> None:
    """Turn a type of 16 bits into FP32; behind whatever computes in it, put a cast to it and back."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    typed = onnx.shape_inference.infer_shapes(model)
    of_half = {value.name for value in typed.graph.value_info if value.type.tensor_type.elem_type == half}
    graph, nodes = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == half:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == half:
                attribute.i = TensorProto.FLOAT
        name = node.output[0]
        nodes.append(node)
        if name in of_half and node.op_type not in _EXACT:
            node.output[0] = f"{name}_exact"
            nodes += [
                helper.make_node("Cast", [f"{name}_exact"], [f"{name}_half"], to=half),
                helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT),
            ]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(copies)
