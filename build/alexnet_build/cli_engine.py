"""The commands from weights to a served engine: ``repository`` does all of it, ``onnx``, ``plan`` and ``verify`` a
step.

Called by ``cli``.
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alexnet_build.configs import Accelerator
    from alexnet_build.weights import TrainedNetwork


class EngineName(str, Enum):
    """What runs the network."""

    tensorrt = "tensorrt"
    onnxruntime = "onnxruntime"


class PrecisionName(str, Enum):
    """Arithmetic of the network itself."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"
    fp8 = "fp8"


class RangesName(str, Enum):
    """How the ranges of activations are chosen."""

    max = "max"
    entropy = "entropy"


class AcceleratorName(str, Enum):
    """What runs an ONNX file on the CPU."""

    openvino = "openvino"
    none = "none"


class PreprocessDeviceName(str, Enum):
    """Where photographs are decoded."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class HardwareName(str, Enum):
    """On which other GPUs a plan runs."""

    ampere_plus = "ampere_plus"
    same_compute_capability = "same_compute_capability"


Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        help="imagenet (torchvision, downloaded once), demo (101 categories, comes with the package) or a file: "
        ".safetensors, .safetensors.xz, .pth, .ckpt, .npy",
    ),
]
Labels = Annotated[Path | None, typer.Option("--labels", help="Class names, one a line, for a file that has none.")]
LocalResponseNorm = Annotated[
    bool | None, typer.Option("--lrn/--no-lrn", help="Local response normalisation; tensors cannot tell it.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Unpickle any object in a weights file; load a version-compatible plan. They run code."
    ),
]
#: Of an ONNX file, which has no largest batch of its own.
_COMPARED_BATCH = 16
EngineOption = Annotated[EngineName, typer.Option("--engine", help="What runs the network.")]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Folder of a few hundred photographs to calibrate int8 and fp8 on; without it, crops of --photographs.",
    ),
]
Ranges = Annotated[
    RangesName, typer.Option("--ranges", help="int8, fp8: keep the largest activation, or cut rare ones off.")
]
KeepLayers = Annotated[
    str,
    typer.Option(
        "--keep-layers",
        metavar="auto|none|LAYER,...",
        help="int8, fp8: layers to leave in higher precision; auto: the last one, and others if measuring says so.",
    ),
]
MaxBatch = Annotated[int, typer.Option("--max-batch", min=1, max=1024, help="Largest batch.")]
Photographs = Annotated[
    Path | None,
    typer.Option(
        "--photographs",
        help="Folder to compare on, better if in <label>/ folders; without it, photographs of the package.",
    ),
]
WorkspaceMiB = Annotated[
    int, typer.Option("--workspace-mib", min=1, help="Most scratch memory of a TensorRT tactic, in MiB.")
]
TimingCache = Annotated[
    Path | None,
    typer.Option("--timing-cache", help="File of measured TensorRT tactics; makes rebuilds quicker."),
]
HardwareCompatible = Annotated[
    HardwareName | None,
    typer.Option(
        "--hardware-compatible",
        help="A plan for other GPUs too: of compute capability 8.0 and newer, somewhat slower; or of the same one.",
    ),
]
VersionCompatible = Annotated[
    bool,
    typer.Option(
        "--version-compatible",
        help="A plan for newer TensorRT too. It carries code, which tritonserver runs only with "
        "--backend-config=tensorrt,version-compatible=true.",
    ),
]


def repository(
    output: Annotated[Path, typer.Option("--output", help="The model repository; made if missing.")],
    weights: Weights = "imagenet",
    engine: EngineOption = EngineName.tensorrt,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(
            "--precision",
            help="Arithmetic of the network itself. tensorrt: any, fp32 if not given. onnxruntime: fp32 or int8; if "
            "not given, int8 where it agrees with torch, else fp32.",
            show_default=False,
        ),
    ] = None,
    max_batch: MaxBatch = 64,
    preprocess_instances: Annotated[
        int | None, typer.Option("--preprocess-instances", min=1, help="Processes that decode photographs.")
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            "--cores",
            min=1,
            help="Of the machine that will serve: how many processes decode, and with onnxruntime how many copies of "
            "the network run. onnxruntime: this machine's if not given.",
            show_default=False,
        ),
    ] = None,
    preprocess_device: Annotated[
        PreprocessDeviceName | None,
        typer.Option(
            "--preprocess-device",
            help="Where photographs are decoded; auto if not given: on the GPU where there is one with JPEG engines "
            "and the packages. gpu: there, or the model does not load.",
            show_default=False,
        ),
    ] = None,
    photographs: Photographs = None,
    calibration: Calibration = None,
    ranges: Ranges = RangesName.max,
    keep_layers: KeepLayers = "auto",
    labels: Labels = None,
    lrn: LocalResponseNorm = None,
    workspace_mib: WorkspaceMiB = 1024,
    timing_cache: TimingCache = None,
    hardware_compatible: HardwareCompatible = None,
    version_compatible: VersionCompatible = False,
    embeddings: Annotated[
        bool,
        typer.Option(
            "--embeddings",
            help="Serve what the last layer sees of an image as well, a vector for similarity search: a second output, "
            "EMBEDDINGS. onnxruntime alone.",
        ),
    ] = False,
    accelerator: Annotated[
        AcceleratorName | None,
        typer.Option(
            "--accelerator",
            help="onnxruntime: openvino to have OpenVINO run the network, which takes less time; none for ONNX Runtime "
            "itself. openvino if not given, on x86-64.",
            show_default=False,
        ),
    ] = None,
    keep_other_gpus: Annotated[
        bool,
        typer.Option(
            "--keep-other-gpus",
            help="Carry the newest version's plans for other GPUs over into the new one; each GPU loads its own.",
        ),
    ] = False,
    trust: Trust = False,
) -> None:
    """Write a complete model repository, its engine verified against torch."""
    from alexnet_build.engine import EngineOptions, verified_engine
    from alexnet_build.plan_from_onnx import PlanOptions
    from alexnet_build.repository import publish, refuse_other_network, refuse_other_outputs

    if engine is EngineName.tensorrt and embeddings:
        raise typer.BadParameter("--embeddings: for --engine onnxruntime alone")
    if engine is EngineName.tensorrt and accelerator:
        raise typer.BadParameter("--accelerator: for --engine onnxruntime alone")
    if engine is not EngineName.tensorrt:
        _refuse_options_of_plans(hardware_compatible, version_compatible, keep_other_gpus, timing_cache)
    if precision is not None:
        _refuse_options_of_quantising(precision, calibration, ranges, keep_layers)
    plan_options = PlanOptions(
        max_batch, workspace_mib << 20, timing_cache,
        hardware_compatibility=hardware_compatible.value if hardware_compatible else "none",
        version_compatible=version_compatible,
    )  # fmt: skip
    options = EngineOptions(
        plan_options,
        _photographs(photographs),
        _photographs(calibration) if calibration else (),
        ranges.value,
        _layers(keep_layers),
        embeddings=embeddings,
        accelerator=_accelerator(engine, accelerator),
    )
    if engine is EngineName.tensorrt:
        _require_tensorrt()  # before minutes of other work
    trained = _load(weights, labels, lrn, trust)
    refuse_other_network(output, trained.spec)  # before the build, not after it
    refuse_other_outputs(output, embeddings)
    made = verified_engine(trained, engine.value, precision.value if precision else None, options)
    published = publish(
        output,
        trained,
        made,
        preprocess_instances=preprocess_instances,
        preprocess_device=preprocess_device.value if preprocess_device else None,
        cores=cores,
        command=shlex.join(["alexnet-build", *sys.argv[1:]]),
        keep_other_gpus=keep_other_gpus,
    )
    print(f"{published.directory}")
    print(f"serve it with: alexnet-server run --repository {output}{_server_flags(made)}", file=sys.stderr)


def configs(
    output: Annotated[Path, typer.Option("--output", help="The model repository; made if missing.")],
) -> None:
    """Render the default network's repository (ImageNet, 224 pixels, TensorRT), all but the engine."""
    from alexnet_build.configs import ServingSpec
    from alexnet_build.repository import write_files
    from alexnet_build.weights_imagenet import imagenet_spec

    network = imagenet_spec()
    serving = ServingSpec("tensorrt", network.image_size, network.classes, network.resize_short_side)
    write_files(output, serving, network)
    print(output)


def onnx(
    output: Annotated[Path, typer.Option("--output", help="The ONNX file.")],
    weights: Weights = "imagenet",
    engine: EngineOption = EngineName.tensorrt,
    precision: Annotated[
        PrecisionName, typer.Option("--precision", help="Arithmetic of the network itself.")
    ] = PrecisionName.fp32,
    photographs: Photographs = None,
    calibration: Calibration = None,
    ranges: Ranges = RangesName.max,
    keep_layers: KeepLayers = "auto",
    labels: Labels = None,
    lrn: LocalResponseNorm = None,
    trust: Trust = False,
) -> None:
    """Export one ONNX file: uint8 pixels in, probabilities out; int8 and fp8 are calibrated for an engine."""
    from alexnet_build.engine import EngineOptions, quantising_from_options
    from alexnet_build.plan_from_onnx import PlanOptions
    from alexnet_build.precision.onnx_in_precision import QUANTISED, onnx_in_precision

    _refuse_options_of_quantising(precision, calibration, ranges, keep_layers)
    trained = _load(weights, labels, lrn, trust)
    quantising = None
    if precision.value in QUANTISED:
        calibrated_on = _photographs(calibration) if calibration else ()
        options = EngineOptions(
            PlanOptions(), _photographs(photographs), calibrated_on, ranges.value, _layers(keep_layers)
        )
        quantising = quantising_from_options(trained, options)
    output.parent.mkdir(parents=True, exist_ok=True)
    onnx_in_precision(trained, output, engine.value, precision.value, quantising)
    print(output)


def plan(
    onnx_file: Annotated[Path, typer.Option("--onnx", exists=True, dir_okay=False, help="What onnx exported.")],
    output: Annotated[Path, typer.Option("--output", help="The TensorRT plan.")],
    max_batch: MaxBatch = 64,
    workspace_mib: WorkspaceMiB = 1024,
    timing_cache: TimingCache = None,
    hardware_compatible: HardwareCompatible = None,
    version_compatible: VersionCompatible = False,
    compile_check: Annotated[
        str | None,
        typer.Option(
            "--compile-check",
            metavar="SM",
            help="Compile for this compute capability, e.g. 8.6, with TensorRT for RTX and without a GPU. "
            "Triton cannot load the result; it shows that the graph parses and compiles.",
        ),
    ] = None,
) -> None:
    """Build a TensorRT plan for the GPU of this machine."""
    from alexnet_build.plan_from_onnx import PlanOptions, plan_from_onnx

    target = _compute_capability(compile_check)
    options = PlanOptions(
        max_batch, workspace_mib << 20, timing_cache, target,
        hardware_compatible.value if hardware_compatible else "none", version_compatible,
    )  # fmt: skip
    made = plan_from_onnx(onnx_file, options, builder="tensorrt_rtx" if target else "tensorrt")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(made.content)
    print(output)


def verify(
    onnx_file: Annotated[
        Path | None, typer.Option("--onnx", exists=True, dir_okay=False, help="What onnx exported.")
    ] = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", exists=True, dir_okay=False, help="A TensorRT plan for this machine's GPU.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="HOST:PORT", help="A live server's gRPC address; its engine is compared."),
    ] = None,
    weights: Weights = "imagenet",
    precision: Annotated[PrecisionName, typer.Option("--precision", help="Names the limits.")] = PrecisionName.fp32,
    photographs: Photographs = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for verify.json and pictures of the worst views.")
    ] = None,
    labels: Labels = None,
    lrn: LocalResponseNorm = None,
    trust: Trust = False,
) -> None:
    """Compare an ONNX file, a plan or a live server with torch on photographs; exit with 1 over a limit."""
    from dataclasses import asdict

    from alexnet_build import verify as steps
    from alexnet_build.inference import open_session

    if onnx_file is None and plan_file is None and url is None:
        raise typer.BadParameter("nothing to compare: give --onnx FILE, --plan FILE, --url HOST:PORT, or several")
    trained = _load(weights, labels, lrn, trust)
    views = steps.views_from_photographs(_photographs(photographs), trained.spec)
    reference = steps.torch_probabilities(trained, views.pixels)
    sides: dict[str, tuple[steps.Infer, int]] = {}
    if onnx_file is not None:
        sides["onnx"] = steps.graph_infer(onnx_file), _COMPARED_BATCH
    if plan_file is not None:
        session = open_session(plan_file, trust=trust)
        sides["plan"] = session.infer, session.max_batch
    if url is not None:
        sides["server"] = steps.triton_infer(url)
    found = {
        side: steps.parity(reference, infer, views, trained.spec.labels, max_batch)
        for side, (infer, max_batch) in sides.items()
    }
    text = json.dumps({side: asdict(parity) for side, parity in found.items()}, indent=2)
    print(text)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "verify.json").write_text(text + "\n")
        for side, parity in found.items():
            steps.write_worst(parity, views, output / f"worst_{side}.png")
    for side, parity in found.items():
        steps.check_parity(parity, precision.value, side)


def _load(weights: str, labels: Path | None, lrn: bool | None, trust: bool) -> TrainedNetwork:
    from alexnet_build.errors import WeightsError
    from alexnet_build.weights import load_weights

    names = None
    if labels is not None:
        if not labels.is_file():
            raise WeightsError(f"there is no labels file {labels}; expected a text file with one class name a line")
        names = labels.read_text().splitlines()
    return load_weights(weights, labels=names, local_response_norm=lrn, trust=trust)


def _photographs(directory: Path | None) -> list[Path]:
    from alexnet_build.verify import PHOTOGRAPHS, photographs_in

    return photographs_in(directory or PHOTOGRAPHS)


def _accelerator(engine: EngineName, asked: AcceleratorName | None) -> Accelerator | None:
    """What was asked for; if nothing was, OpenVINO where it is installed and was measured."""
    if engine is EngineName.tensorrt or asked is AcceleratorName.none:
        return None
    measured = platform.machine() == "x86_64"
    return "openvino" if asked or (measured and find_spec("openvino")) else None


def _layers(text: str) -> tuple[str, ...] | None:
    if text == "auto":
        return None
    return () if text == "none" else tuple(name.strip() for name in text.split(","))


def _refuse_options_of_plans(
    hardware: HardwareName | None, version_compatible: bool, keep_other_gpus: bool, timing_cache: Path | None
) -> None:
    given = {
        "--hardware-compatible": hardware, "--version-compatible": version_compatible,
        "--keep-other-gpus": keep_other_gpus, "--timing-cache": timing_cache,
    }  # fmt: skip
    if useless := [name for name, value in given.items() if value]:
        raise typer.BadParameter(f"{', '.join(useless)}: for --engine tensorrt alone")


def _refuse_options_of_quantising(
    precision: PrecisionName, calibration: Path | None, ranges: RangesName, keep_layers: str
) -> None:
    given = {
        "--calibration": calibration, "--ranges": ranges is not RangesName.max, "--keep-layers": keep_layers != "auto",
    }  # fmt: skip
    useless = [name for name, value in given.items() if value]
    if useless and precision not in (PrecisionName.int8, PrecisionName.fp8):
        raise typer.BadParameter(f"{', '.join(useless)}: for --precision int8 and fp8 alone, not {precision.value}")


def _server_flags(made: object) -> str:
    compatible = getattr(made, "version_compatible", False)
    return " -- --backend-config=tensorrt,version-compatible=true" if compatible else ""


def _require_tensorrt() -> None:
    from alexnet_build.plan_from_onnx import compute_capability_here, import_tensorrt

    import_tensorrt("tensorrt")
    compute_capability_here("tensorrt")


def _compute_capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise typer.BadParameter(f"{text!r} is no compute capability; expected e.g. 8.6")
    return int(major), int(minor)
