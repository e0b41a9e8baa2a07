"""Makes and verifies the engine that a repository will serve.

In: a ``TrainedNetwork`` and what it should become. Out: an ``Engine``: the bytes to serve, and the evidence that
they agree with torch. Called by ``alexnet-build repository``.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from alexnet_build import configs
from alexnet_build.embeddings import EmbeddingParity, add_embeddings, classifier_of, verified_embeddings
from alexnet_build.errors import EngineError, ParityError
from alexnet_build.plan_from_onnx import PlanOptions, plan_from_onnx
from alexnet_build.precision.calibration import Method, calibration_pixels, random_crops
from alexnet_build.precision.onnx_in_precision import QUANTISED, Precision, Quantised, Quantising, onnx_in_precision
from alexnet_build.verify import (
    Parity,
    Views,
    check_parity,
    onnxruntime_infer,
    openvino_infer,
    parity,
    simulated_infer,
    torch_probabilities,
    views_from_photographs,
    write_worst,
)
from alexnet_build.verify.answers import Infer
from alexnet_build.weights import TrainedNetwork

#: Views that the layers of an INT8 or FP8 graph are chosen on: other crops than are calibrated on and verified on.
_HELD_OUT, _HELD_OUT_SEED = 64, 2


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is made and verified.

    Attributes:
        plan: Batch range and, for TensorRT, memory, timing cache and compatibility.
        photographs: Image files to compare the answers on.
        calibration: Image files to calibrate INT8 and FP8 on; empty for crops of ``photographs``.
        method: How the ranges of activations are chosen.
        keep: Layers that INT8 and FP8 leave in higher precision; None for the last one, and more if the limits ask for
            it.
        search: Measure each layer, for minutes, where INT8 or FP8 is over its limits.
        embeddings: Give the engine a second output, EMBEDDINGS; ONNX Runtime alone.
        accelerator: What will run the graph in place of ONNX Runtime itself, and is verified; None: nothing.
    """

    plan: PlanOptions
    photographs: Sequence[Path]
    calibration: Sequence[Path] = ()
    method: Method = "max"
    keep: tuple[str, ...] | None = None
    search: bool = True
    embeddings: bool = False
    accelerator: configs.Accelerator | None = None


@dataclass(frozen=True)
class Engine:
    """An engine that agrees with torch, and what it fits.

    Attributes:
        kind: ``tensorrt`` or ``onnxruntime``.
        content: The bytes of ``model.plan`` or ``model.onnx``.
        builder_version: Of TensorRT or ONNX Runtime.
        compute_capability: Of the GPU that a plan is for, e.g. ``8.6``; None on a CPU.
        precision: Arithmetic of the network itself.
        max_batch: Largest batch.
        onnx_sha256: Hash of the graph that the engine was made of.
        parity: How its answers compare with torch's.
        onnx_parity: How those of its graph do, computed on the CPU; None where the graph is the engine.
        quantised: How INT8 and FP8 came about; None for other precisions.
        hardware_compatibility: On which other GPUs a plan runs, see ``PlanOptions``.
        version_compatible: Whether a plan also runs in newer TensorRT.
        embeddings: How the second output's answers compare with torch's; None where there is no such output.
        accelerator: What the answers were computed with in place of ONNX Runtime itself; None: nothing.
        accelerator_version: Of it.
    """

    kind: configs.Engine
    content: bytes
    builder_version: str
    compute_capability: str | None
    precision: Precision
    max_batch: int
    onnx_sha256: str
    parity: Parity
    onnx_parity: Parity | None = None
    quantised: Quantised | None = None
    hardware_compatibility: str = field(default="none")
    version_compatible: bool = False
    embeddings: EmbeddingParity | None = None
    accelerator: configs.Accelerator | None = None
    accelerator_version: str | None = None


def verified_engine(
    trained: TrainedNetwork, kind: configs.Engine, precision: Precision | None, options: EngineOptions
) -> Engine:
    """Export, build and verify.

    Args:
        trained: The network.
        kind: What will run it.
        precision: Arithmetic of the network itself, one of ``PRECISIONS[kind]``; None for the default: FP32 for
            TensorRT, and for ONNX Runtime INT8 where that agrees with torch, else FP32.
        options: Photographs, batch range and the rest.

    Raises:
        EngineError: The combination does not exist, or a step failed.
        ParityError: The engine does not agree with torch.
    """
    if options.accelerator and kind != "onnxruntime":
        raise EngineError("--accelerator is for --engine onnxruntime alone: TensorRT needs none")
    if options.embeddings and kind != "onnxruntime":
        raise EngineError(
            "--embeddings is for --engine onnxruntime alone: a plan's second output is not verified yet. "
            "Next: --engine onnxruntime, or leave --embeddings out"
        )
    views = views_from_photographs(options.photographs, trained.spec)
    reference = torch_probabilities(trained, views.pixels)

    def build(precision: Precision, options: EngineOptions = options) -> Engine:
        return _built(trained, kind, precision, options, _Comparison(trained, views, reference))

    if precision is not None or kind == "tensorrt":
        try:
            return build(precision or "fp32")
        except ParityError as error:
            raise ParityError(
                f"{error}\nNothing was published. Next: --calibration DIR with photographs such as are served (int8, "
                "fp8), --keep-layers, or a higher --precision"
            ) from None
    try:
        return build("int8", replace(options, search=False))  # nobody asked for INT8: no minutes of searching
    except ParityError as error:
        print(f"{error}\ngoing on with fp32; --precision int8 would look for layers to leave", file=sys.stderr)
        return build("fp32")


@dataclass(frozen=True)
class _Comparison:
    """Everything that an engine's answers are compared with."""

    trained: TrainedNetwork
    views: Views
    reference: object

    def checked(self, infer: Infer, precision: Precision, max_batch: int, what: str) -> Parity:
        """Compare, and refuse what is over the limits, with a picture of the worst views."""
        found = parity(self.reference, infer, self.views, self.trained.spec.labels, max_batch)  # type: ignore[arg-type]
        try:
            check_parity(found, precision, what)
        except ParityError as error:
            picture = Path(tempfile.mkdtemp(prefix="alexnet-verify-")) / "worst.png"
            write_worst(found, self.views, picture)
            raise ParityError(f"{error}\n  They are shown in {picture}") from None
        print(f"{what}: {_in_words(found)}", file=sys.stderr)
        return found

    def checked_embeddings(
        self, onnx_file: Path, precision: Precision, accelerator: configs.Accelerator | None
    ) -> EmbeddingParity:
        """Compare the second output, and refuse what is over the limits."""
        found = verified_embeddings(self.trained, onnx_file, self.views, precision, accelerator)
        print(
            f"embeddings of {found.width} features: cosine similarity at least {found.min_cosine_similarity:.5f}, "
            f"relative difference {found.mean_relative_difference:.1e} on average",
            file=sys.stderr,
        )
        return found


def _built(
    trained: TrainedNetwork, kind: configs.Engine, precision: Precision, options: EngineOptions, torch: _Comparison
) -> Engine:
    with tempfile.TemporaryDirectory() as scratch:
        onnx_file = Path(scratch) / "model.onnx"
        print(f"exporting {trained.source} to ONNX ({precision})", file=sys.stderr)
        quantising = quantising_from_options(trained, options) if precision in QUANTISED else None
        quantised = onnx_in_precision(trained, onnx_file, kind, precision, quantising)
        if options.embeddings:
            add_embeddings(onnx_file, classifier_of(trained).in_features)
        graph = onnx_file.read_bytes()
        digest = hashlib.sha256(graph).hexdigest()
        max_batch = options.plan.max_batch
        print(f"comparing with torch on {len(torch.views)} views of photographs", file=sys.stderr)
        if kind == "onnxruntime":
            import onnxruntime

            accelerator = options.accelerator
            infer = openvino_infer(onnx_file) if accelerator == "openvino" else onnxruntime_infer(onnx_file)
            found = torch.checked(infer, precision, max_batch, "engine")
            embeddings = torch.checked_embeddings(onnx_file, precision, accelerator) if options.embeddings else None
            return Engine(
                kind, graph, onnxruntime.__version__, None, precision, max_batch, digest, found, quantised=quantised,
                embeddings=embeddings, accelerator=accelerator,
                accelerator_version=metadata.version(accelerator) if accelerator else None,
            )  # fmt: skip
        # before minutes of building
        of_graph = torch.checked(simulated_infer(onnx_file), precision, max_batch, "graph")
        plan = plan_from_onnx(onnx_file, options.plan)
    from alexnet_build.inference.plan_session import PlanSession

    with PlanSession(plan.content, graph_batch_sizes=(), trust=options.plan.version_compatible) as session:
        found = torch.checked(session.infer, precision, max_batch, "engine")
    return Engine(
        kind, plan.content, plan.version, plan.compute_capability, precision, max_batch, digest, found, of_graph,
        quantised, options.plan.hardware_compatibility, options.plan.version_compatible,
    )  # fmt: skip


def quantising_from_options(trained: TrainedNetwork, options: EngineOptions) -> Quantising:
    """Draw what INT8 and FP8 are calibrated on, and what their layers are chosen on."""
    source = options.calibration or options.photographs
    pixels = calibration_pixels(source, trained.spec)
    print(f"calibrating on {len(pixels)} views of {len(source)} photographs", file=sys.stderr)
    held_out = random_crops(source, trained.spec, _HELD_OUT, _HELD_OUT_SEED)
    return Quantising(pixels, held_out, options.method, options.keep, options.search)


def _in_words(found: Parity) -> str:
    text = (
        f"top-1 agreement {found.top1_agreement:.2%}, top-5 {found.top5_agreement:.2%}, probability difference at most "
        f"{found.max_probability_difference:.1e}, mean {found.mean_probability_difference:.1e}"
    )
    if found.accuracy is not None:
        text += f"; accuracy {found.accuracy:.2%} of {found.labelled} (torch {found.reference_accuracy:.2%})"
    return text
