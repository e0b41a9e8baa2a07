"""A model file run by OpenVINO, behind the three methods of an ONNX Runtime session that the backend calls.

In: an ONNX file and a number of threads. Out: an ``OpenVinoSession``. Called by onnxruntime_sessions.py where the
config asks for it in Triton's words: `optimization { execution_accelerators { cpu_execution_accelerator { name:
"openvino" } } }`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino

ONNX_TYPE_FROM_ELEMENT_TYPE = {
    "boolean": "tensor(bool)",
    "u8": "tensor(uint8)",
    "i8": "tensor(int8)",
    "i32": "tensor(int32)",
    "i64": "tensor(int64)",
    "f16": "tensor(float16)",
    "f32": "tensor(float)",
    "f64": "tensor(double)",
}


@dataclass(frozen=True)
class TensorOfFile:
    """An input or output, described as onnxruntime.NodeArg does.

    Attributes:
        name: the one in the file.
        type: for example "tensor(uint8)".
        shape: None for sizes that are open.
    """

    name: str
    type: str
    shape: list[int | None]


class OpenVinoSession:
    """One network on so many threads; a batch at a time.

    Args:
        path: the ONNX file.
        threads: threads that compute a batch together.
    """

    def __init__(self, path: Path, threads: int) -> None:
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Left to itself it computes in BF16 on processors that have it; the engine was verified in FP32.
            "INFERENCE_PRECISION_HINT": "f32",
            # Instances are processes of their own: pinned, they would all sit on the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        self.network = openvino.Core().compile_model(read_model(path), "CPU", properties)
        self.request = self.network.create_infer_request()

    def get_inputs(self) -> list[TensorOfFile]:
        """Describe what `run` takes."""
        return [describe(port) for port in self.network.inputs]

    def get_outputs(self) -> list[TensorOfFile]:
        """Describe what `run` can return."""
        return [describe(port) for port in self.network.outputs]

    def run(self, output_names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run a batch: arrays (N, ...) in, one for each output name out, which belongs to the caller."""
        # Inputs are read where they are; outputs are copied, as the next run writes to the same memory.
        outputs = self.request.infer(feeds, share_inputs=True)
        return [outputs[name] for name in output_names]


@functools.cache
def read_model(path: Path) -> openvino.Model:
    """Read a file once, however many sessions are made of it: they share the weights as far as they keep them so."""
    return openvino.Core().read_model(path)


def describe(port: openvino.ConstOutput) -> TensorOfFile:
    """Name, type and shape of an input or output."""
    kind = port.element_type.get_type_name()
    shape = [None if size.is_dynamic else size.get_length() for size in port.partial_shape]
    return TensorOfFile(port.any_name, ONNX_TYPE_FROM_ELEMENT_TYPE.get(kind, kind), shape)
