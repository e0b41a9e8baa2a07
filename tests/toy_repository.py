"""TEMPORARY stand-in until `alexnet-build repository` exists: a repository with a network of one matrix."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

ROOT = Path(__file__).parent.parent
S, C = 224, 10


def write_toy_repository(out: Path, jpeg: bytes) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto as T
    from onnx import helper as h

    for folder in ("preprocess/1", "preprocess/warmup", "alexnet/1", "classifier/1"):
        (out / folder).mkdir(parents=True)
    for source in (ROOT / "model_repository/preprocess/1").glob("*.py"):
        shutil.copy(source, out / "preprocess/1")
    weights = np.random.default_rng(0).normal(0, 0.05, (3, C)).astype("f4")
    graph = h.make_graph(
        [
            h.make_node("Cast", ["PIXELS"], ["f"], to=T.FLOAT),
            h.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
            h.make_node("MatMul", ["m", "w"], ["l"]),
            h.make_node("Softmax", ["l"], ["PROBABILITIES"], axis=1),
        ],
        "toy",
        [h.make_tensor_value_info("PIXELS", T.UINT8, ["N", S, S, 3])],
        [h.make_tensor_value_info("PROBABILITIES", T.FLOAT, ["N", C])],
        [onnx.numpy_helper.from_array(np.array([1, 2]), "axes"), onnx.numpy_helper.from_array(weights, "w")],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(out / "alexnet/1/model.onnx"))
    (out / "alexnet/labels.txt").write_text("".join(f"class {i}\n" for i in range(C)))
    (out / "preprocess/warmup/image").write_bytes(struct.pack("<I", len(jpeg)) + jpeg)
    (out / "preprocess/config.pbtxt").write_text(f"""name: "preprocess" backend: "python" max_batch_size: 64
input {{ name: "IMAGE" data_type: TYPE_STRING dims: 1 }}
output {{ name: "PIXELS" data_type: TYPE_UINT8 dims: [{S}, {S}, 3] }}
instance_group {{ count: 2 kind: KIND_CPU }} dynamic_batching {{ }}
parameters {{ key: "RESIZE_SHORT_SIDE" value {{ string_value: "256" }} }}
model_warmup {{ name: "photograph" batch_size: 1 inputs {{ key: "IMAGE"
  value {{ data_type: TYPE_STRING dims: 1 input_data_file: "image" }} }} }}
""")
    (out / "alexnet/config.pbtxt").write_text(f"""name: "alexnet" backend: "onnxruntime" max_batch_size: 64
input {{ name: "PIXELS" data_type: TYPE_UINT8 dims: [{S}, {S}, 3] }}
output {{ name: "PROBABILITIES" data_type: TYPE_FP32 dims: {C} label_filename: "labels.txt" }}
instance_group {{ count: 1 kind: KIND_CPU }} dynamic_batching {{ }}
""")
    (out / "classifier/config.pbtxt").write_text(f"""name: "classifier" platform: "ensemble" max_batch_size: 64
input {{ name: "IMAGE" data_type: TYPE_STRING dims: 1 }}
output {{ name: "PROBABILITIES" data_type: TYPE_FP32 dims: {C} }}
ensemble_scheduling {{
  step {{ model_name: "preprocess" model_version: -1
    input_map {{ key: "IMAGE" value: "IMAGE" }} output_map {{ key: "PIXELS" value: "PIXELS" }} }}
  step {{ model_name: "alexnet" model_version: -1
    input_map {{ key: "PIXELS" value: "PIXELS" }} output_map {{ key: "PROBABILITIES" value: "PROBABILITIES" }} }}
}}
""")
