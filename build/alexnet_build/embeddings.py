"""The embedding of an image: what the last layer, the classifier, sees of it. A second output, on request.

In: a ``TrainedNetwork`` and its exported graph. Out: the graph with the output ``EMBEDDINGS`` (N, D) float32, D = 4096
for AlexNet, after the ReLU of the layer before the last; and how it compares with torch's. Called by ``engine`` with
``alexnet-build repository --embeddings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_build.configs import Accelerator
from alexnet_build.errors import EngineError, ParityError
from alexnet_build.network import ServingGraph
from alexnet_build.tensors import EMBEDDINGS, PIXELS, PROBABILITIES
from alexnet_build.verify.answers import openvino_infer
from alexnet_build.verify.views import Views
from alexnet_build.weights import TrainedNetwork

_BATCH = 16


@dataclass(frozen=True)
class EmbeddingParity:
    """How an engine's embeddings compare with torch's in FP32.

    Attributes:
        width: D, the number of features.
        photographs: How many views of photographs were compared.
        min_cosine_similarity: Of the view where the two sides point apart most; 1 for the same direction.
        mean_cosine_similarity: Over the views.
        max_relative_difference: Largest length of the difference, as a share of the length of torch's embedding.
        mean_relative_difference: Over the views.
    """

    width: int
    photographs: int
    min_cosine_similarity: float
    mean_cosine_similarity: float
    max_relative_difference: float
    mean_relative_difference: float


@dataclass(frozen=True)
class EmbeddingLimits:
    """What an engine's embeddings may differ by.

    Attributes:
        min_cosine_similarity: Smallest of any view.
        mean_relative_difference: Largest mean.
    """

    min_cosine_similarity: float
    mean_relative_difference: float


#: FP32 differs by the order of additions alone. INT8 rounds the embedding itself to 256 steps, after six layers of such
#: rounding: the demo network's differ by 2.7 % on average, and have a cosine similarity of at least 0.999.
EMBEDDING_LIMITS = {"fp32": EmbeddingLimits(0.99999, 1e-4), "int8": EmbeddingLimits(0.99, 0.1)}


def classifier_of(trained: TrainedNetwork) -> Any:
    """The last linear layer, an ``nn.Linear`` (D -> C).

    Raises:
        EngineError: The network does not end in one.
    """
    from torch import nn

    last = [module for module in trained.network.modules() if isinstance(module, nn.Linear)][-1:]
    if not last or last[0].out_features != trained.spec.classes:
        raise EngineError(
            f"a network of architecture {trained.spec.architecture!r} does not end in a linear layer of "
            f"{trained.spec.classes} classes, so it has no embeddings; build it without --embeddings"
        )
    return last[0]


def add_embeddings(onnx_file: Path, width: int) -> None:
    """Make the input of the classifier, (N, ``width``) float32, the graph's second output.

    It is found from the end, so that it does not matter what quantisation put in between: the softmax, the matrix
    product before it, and that one's first input.

    Raises:
        EngineError: The graph does not end in a matrix product and a softmax.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(onnx_file))
    producers = {name: node for node in model.graph.node for name in node.output}
    softmax = producers.get(PROBABILITIES)
    classifier = producers.get(softmax.input[0]) if softmax is not None else None
    if softmax is None or softmax.op_type != "Softmax" or classifier is None or classifier.op_type != "Gemm":
        raise EngineError(f"{onnx_file} does not end in Gemm and Softmax, so its embeddings cannot be found")
    # under a name of its own; Identity costs nothing, ONNX Runtime takes it away
    model.graph.node.append(helper.make_node("Identity", [classifier.input[0]], [EMBEDDINGS], name=EMBEDDINGS))
    batch = model.graph.output[0].type.tensor_type.shape.dim[0].dim_param
    model.graph.output.append(helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, [batch, width]))
    onnx.checker.check_model(model)
    onnx.save(model, str(onnx_file))


def torch_embeddings(trained: TrainedNetwork, pixels: np.ndarray) -> np.ndarray:
    """The reference: (N, D) float32 from torch in FP32 on the CPU, of pixels (N, S, S, 3) uint8."""
    import torch

    seen: list[np.ndarray] = []
    handle = classifier_of(trained).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy().copy()))
    graph = ServingGraph(trained.network, trained.spec).eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                graph(torch.from_numpy(pixels[start : start + _BATCH]))
    finally:
        handle.remove()
    return np.concatenate(seen)


def served_embeddings(onnx_file: Path, pixels: np.ndarray, accelerator: Accelerator | None = None) -> np.ndarray:
    """What OpenVINO, or ONNX Runtime without it, serves: (N, D) float32."""
    if accelerator == "openvino":
        return openvino_infer(onnx_file, EMBEDDINGS)(pixels)

    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    starts = range(0, len(pixels), _BATCH)
    return np.concatenate([session.run([EMBEDDINGS], {PIXELS: pixels[start : start + _BATCH]})[0] for start in starts])


def compared_embeddings(reference: np.ndarray, answers: np.ndarray) -> EmbeddingParity:
    """Compare (N, D) embeddings with torch's (N, D)."""
    lengths = np.linalg.norm(reference, axis=1)
    cosines = (reference * answers).sum(1) / np.maximum(lengths * np.linalg.norm(answers, axis=1), 1e-30)
    differences = np.linalg.norm(answers - reference, axis=1) / np.maximum(lengths, 1e-30)
    return EmbeddingParity(
        width=reference.shape[1],
        photographs=len(reference),
        min_cosine_similarity=float(cosines.min()),
        mean_cosine_similarity=float(cosines.mean()),
        max_relative_difference=float(differences.max()),
        mean_relative_difference=float(differences.mean()),
    )


def verified_embeddings(
    trained: TrainedNetwork, onnx_file: Path, views: Views, precision: str, accelerator: Accelerator | None = None
) -> EmbeddingParity:
    """Compare an engine's embeddings with torch's and hold them against the limits of its precision.

    Raises:
        ParityError: They are over a limit; both sides are named.
    """
    reference = torch_embeddings(trained, views.pixels)
    found = compared_embeddings(reference, served_embeddings(onnx_file, views.pixels, accelerator))
    limits, over = EMBEDDING_LIMITS[precision], []
    # each comparison is written so that NaN fails
    if not found.min_cosine_similarity >= limits.min_cosine_similarity:
        over.append(f"cosine similarity {found.min_cosine_similarity:.4f} (at least {limits.min_cosine_similarity})")
    if not found.mean_relative_difference <= limits.mean_relative_difference:
        over.append(
            f"mean relative difference {found.mean_relative_difference:.1e} (at most {limits.mean_relative_difference})"
        )
    if over:
        raise ParityError(
            f"the {precision} engine's embeddings do not agree with torch on {found.photographs} views of photographs: "
            f"{', '.join(over)}"
        )
    return found
