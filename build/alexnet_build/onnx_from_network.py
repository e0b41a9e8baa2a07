"""A trained network to an ONNX file with everything in it: uint8 pixels in, probabilities out.

In: a ``TrainedNetwork``. Out: ``model.onnx`` with input ``PIXELS`` (N, S, S, 3) uint8 and output ``PROBABILITIES``
(N, C) float32, N free. The strongly typed engine takes its arithmetic from here: FP16 and BF16 are in the graph. The
file describes itself: its metadata holds the ``NetworkSpec`` as JSON, under the key that weights files use.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path
from typing import Literal

from alexnet_build.errors import EngineError
from alexnet_build.network import ServingGraph
from alexnet_build.tensors import PIXELS, PROBABILITIES
from alexnet_build.weights import TrainedNetwork, spec_metadata

GraphPrecision = Literal["fp32", "fp16", "bf16"]

#: Tested with ONNX Runtime 1.31 and the parser of TensorRT for RTX 1.7. ONNX convolves in BF16 from 22 on.
OPSETS: dict[GraphPrecision, int] = {"fp32": 20, "fp16": 20, "bf16": 22}


def onnx_from_network(trained: TrainedNetwork, path: Path, *, precision: GraphPrecision = "fp32") -> None:
    """Export and check the graph.

    Args:
        trained: The network; it is left as it is.
        path: Where the ONNX file goes, weights inside.
        precision: Arithmetic of the network itself; softmax is FP32 always.

    Raises:
        EngineError: The exporter failed, or the graph's inputs and outputs are not the contract's.
    """
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    graph = ServingGraph(copy.deepcopy(trained.network), trained.spec, dtype=dtype, merge=True).eval()
    size = trained.spec.image_size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    # The exporter speaks to stdout and warns of its own internals; results alone belong on stdout.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        _quiet("torch.onnx", "onnxscript"),
    ):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                graph, (example,), dynamo=True, input_names=[PIXELS], output_names=[PROBABILITIES],
                dynamic_shapes=({0: torch.export.Dim("N", min=1, max=65536)},), opset_version=OPSETS[precision],
                verbose=False,
            )  # fmt: skip
            assert program is not None
            program.model.metadata_props.update(spec_metadata(trained.spec))
            program.save(path, external_data=False)
        except Exception as error:
            raise EngineError(f"torch could not export the network to ONNX: {error}") from error
    check_onnx(path, size, trained.spec.classes)


def check_onnx(path: Path, size: int, classes: int) -> None:
    """Check a file with ``onnx.checker`` and against the contract.

    Raises:
        EngineError: Names both sides.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"{path} is not a valid ONNX file: {error}") from error
    graph = onnx.load(str(path), load_external_data=False).graph
    found = [_described(value) for value in (*graph.input, *graph.output)]
    expected = [f"{PIXELS} UINT8 [?,{size},{size},3]", f"{PROBABILITIES} FLOAT [?,{classes}]"]
    if found != expected:
        raise EngineError(f"{path} has {', '.join(found)}; expected {', '.join(expected)}")


def _described(value: object) -> str:
    import onnx

    tensor = value.type.tensor_type  # type: ignore[attr-defined]
    dims = ",".join("?" if dim.HasField("dim_param") else str(dim.dim_value) for dim in tensor.shape.dim)
    return f"{value.name} {onnx.TensorProto.DataType.Name(tensor.elem_type)} [{dims}]"  # type: ignore[attr-defined]


@contextlib.contextmanager
def _quiet(*names: str):  # type: ignore[no-untyped-def]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
