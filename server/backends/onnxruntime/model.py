"""A Triton backend for ONNX models on the CPU, written on Triton's Python backend.

It stands in for Triton's native ONNX Runtime backend where that is missing, and reads the same model folder
and the same config: any model whose config.pbtxt says `backend: "onnxruntime"`. Triton finds it as
`<backend directory>/onnxruntime/model.py` and runs one process per instance.

Config parameters, named as the native backend names them: intra_op_thread_count, inter_op_thread_count (0
or absent: this instance's share of the cores), execution_mode (0 sequential, 1 parallel) and `optimization
{ graph { level } }` (-1 basic, 1 or absent everything). `optimization { execution_accelerators {
cpu_execution_accelerator { name: "openvino" } } }` has OpenVINO run the network; of the others it heeds the first
alone. One of its own, which the native backend passes over: lone_image_session (0: an image that comes alone
gets no session on all cores).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from onnxruntime_sessions import AcceleratorError, Sessions

CONFIG_TYPE_FROM_ONNX = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}


class TritonPythonModel:
    """One instance of a model; the requests that Triton coalesced run as one batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model file and check that it is what the config says.

        Args:
            args: what the Python backend hands over: "model_config" (JSON), "model_repository" (the model's
                folder), "model_version" and "model_name".

        Raises:
            pb_utils.TritonModelException: no model file, its tensors are not the config's, or what the config wants
                to run it with is not here; the model then does not load.
        """
        config = json.loads(args["model_config"])
        file_name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file_name
        if not path.is_file():
            raise pb_utils.TritonModelException(f"{args['model_name']}: no model file, expected {path}")
        self.batched = config.get("max_batch_size", 0) > 0
        self.input_names = [tensor["name"] for tensor in config["input"]]
        self.output_names = [tensor["name"] for tensor in config["output"]]
        try:
            self.sessions = Sessions(path, config)
        except AcceleratorError as error:
            raise pb_utils.TritonModelException(f"{args['model_name']}/{error}") from error
        differences = [
            *compare_tensors("input", config["input"], self.sessions.batches.get_inputs(), self.batched),
            *compare_tensors("output", config["output"], self.sessions.batches.get_outputs(), self.batched),
        ]
        if differences:
            raise pb_utils.TritonModelException(
                f"{args['model_name']}: config.pbtxt and {path.name} disagree: {'; '.join(differences)}"
            )

    def execute(self, requests: list) -> list:
        """Run all requests as one batch and give each its own part of the outputs.

        Args:
            requests: each with the config's inputs, (N, ...); N differs from request to request.

        Returns:
            One response per request, in order. A fault of the session is every request's fault.
        """
        if not self.batched:
            return [self.run([request], None)[0] for request in requests]
        # Triton coalesces only equal shapes beyond the batch, and never more than max_batch_size.
        return self.run(requests, [batch_size(request, self.input_names[0]) for request in requests])

    def run(self, requests: list, batch_sizes: list[int] | None) -> list:
        """Concatenate, run once, split; a request that is alone is neither copied nor split."""
        feeds = {}
        for name in self.input_names:
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            feeds[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        try:
            outputs = self.sessions.run(self.output_names, feeds)
        except Exception as fault:  # ONNX Runtime's exceptions share no base; Triton already checked the inputs
            error = pb_utils.TritonError(f"the network failed: {fault}", pb_utils.TritonError.INTERNAL)
            return [pb_utils.InferenceResponse(error=error) for _ in requests]
        if batch_sizes is None or len(requests) == 1:
            return [response_from_arrays(self.output_names, outputs)]
        ends = np.cumsum(batch_sizes)
        return [
            response_from_arrays(self.output_names, [output[end - size : end] for output in outputs])
            for size, end in zip(batch_sizes, ends, strict=True)
        ]


def batch_size(request: pb_utils.InferenceRequest, input_name: str) -> int:
    """Return how many elements a request holds: the first dimension of its first input."""
    return pb_utils.get_input_tensor_by_name(request, input_name).shape()[0]


def response_from_arrays(names: list[str], arrays: list[np.ndarray]) -> pb_utils.InferenceResponse:
    """Build one response from its output arrays, (N, ...)."""
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in zip(names, arrays, strict=True)]
    return pb_utils.InferenceResponse(tensors)


def compare_tensors(kind: str, configured: list[dict], actual: list, batched: bool) -> list[str]:
    """Say where the config's tensors and the model file's differ in name, type or dims.

    Args:
        kind: "input" or "output".
        configured: the config's side: name, data_type and dims (without the batch, -1 for any size).
        actual: the file's side: onnxruntime.NodeArg, shape with names or None for sizes that are open.
        batched: whether the file's first dimension is the batch.

    Returns:
        One sentence per difference, both sides in it; empty when they agree.
    """
    differences = []
    in_file = {tensor.name: tensor for tensor in actual}
    in_config = {tensor["name"] for tensor in configured}
    unknown = sorted(in_config - in_file.keys())
    # Outputs may stay unused, inputs may not.
    missing = sorted(in_file.keys() - in_config) if kind == "input" else []
    if unknown or missing:
        return [f"{kind}s are {sorted(in_config)} in the config and {sorted(in_file)} in the file"]
    for tensor in configured:
        name, dims = tensor["name"], [int(size) for size in tensor["dims"]]
        file_type = CONFIG_TYPE_FROM_ONNX.get(in_file[name].type, in_file[name].type)
        if tensor["data_type"] != file_type:
            differences.append(f"{kind} {name} is {tensor['data_type']} in the config and {file_type} in the file")
        shape = [size if isinstance(size, int) else -1 for size in in_file[name].shape]
        expected = [-1, *dims] if batched else dims
        if len(shape) != len(expected) or any(
            ours != theirs and -1 not in (ours, theirs) for ours, theirs in zip(expected, shape, strict=True)
        ):
            differences.append(f"{kind} {name} has dims {expected} in the config and {shape} in the file")
        elif batched and shape[0] != -1:
            differences.append(f"{kind} {name} has a fixed batch of {shape[0]} in the file, expected an open one")
    return differences
