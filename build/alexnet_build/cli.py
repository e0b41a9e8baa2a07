"""The command ``alexnet-build``: from weights to a model repository, in one step or one by one.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import errno
import json
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alexnet_build.cli_compression import compress, prune, quantise
from alexnet_build.cli_evaluate import evaluate
from alexnet_build.cli_training import train
from alexnet_build.errors import BuildError

if TYPE_CHECKING:
    from alexnet_build.weights import TrainedNetwork


class EngineName(str, Enum):
    """What runs the network."""

    tensorrt = "tensorrt"
    onnxruntime = "onnxruntime"


class PrecisionName(str, Enum):
    """Arithmetic of the network itself."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class GraphPrecisionName(str, Enum):
    """Arithmetic that an exported graph can have."""

    fp32 = "fp32"
    fp16 = "fp16"


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
Trust = Annotated[bool, typer.Option("--trust", help="Unpickle any object in a weights file. It can run code.")]
Precision = Annotated[
    PrecisionName,
    typer.Option("--precision", help="Arithmetic of the network itself; fp16 is TensorRT's, int8 ONNX Runtime's."),
]
GraphPrecision = Annotated[GraphPrecisionName, typer.Option("--precision", help="Arithmetic of the network itself.")]
Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", help="Folder of photographs to calibrate int8 on; without it, --photographs."),
]
MaxBatch = Annotated[int, typer.Option("--max-batch", min=1, max=1024, help="Largest batch.")]
Photographs = Annotated[
    Path | None,
    typer.Option("--photographs", help="Folder to verify on; without it, photographs of the package."),
]
WorkspaceMiB = Annotated[
    int, typer.Option("--workspace-mib", min=1, help="Most scratch memory of a TensorRT tactic, in MiB.")
]
TimingCache = Annotated[
    Path | None,
    typer.Option("--timing-cache", help="File of measured TensorRT tactics; makes rebuilds quicker."),
]

app = typer.Typer(
    help="Build a model repository for Triton Inference Server from AlexNet's weights.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command(epilog="Example: alexnet-build repository --weights demo --engine onnxruntime --output models")
def repository(
    output: Annotated[Path, typer.Option("--output", help="The model repository; made if missing.")],
    weights: Weights = "imagenet",
    engine: Annotated[EngineName, typer.Option("--engine", help="What runs the network.")] = EngineName.tensorrt,
    precision: Precision = PrecisionName.fp32,
    max_batch: MaxBatch = 64,
    preprocess_instances: Annotated[
        int, typer.Option("--preprocess-instances", min=1, help="Processes that decode photographs.")
    ] = 2,
    photographs: Photographs = None,
    calibration: Calibration = None,
    labels: Labels = None,
    lrn: LocalResponseNorm = None,
    workspace_mib: WorkspaceMiB = 1024,
    timing_cache: TimingCache = None,
    trust: Trust = False,
) -> None:
    """Write a complete model repository, its engine verified against torch."""
    from alexnet_build.engine import verified_engine
    from alexnet_build.plan_from_onnx import PlanOptions
    from alexnet_build.repository import publish

    options = PlanOptions(max_batch, workspace_mib << 20, timing_cache)
    compared = _photographs(photographs)
    if engine is EngineName.tensorrt:
        _require_tensorrt()  # before minutes of other work
    trained = _load(weights, labels, lrn, trust)
    calibrated_on = _photographs(calibration) if calibration else ()
    made = verified_engine(trained, engine.value, precision.value, options, compared, calibrated_on)
    published = publish(
        output,
        trained,
        made,
        preprocess_instances=preprocess_instances,
        command=shlex.join(["alexnet-build", *sys.argv[1:]]),
    )
    print(f"{published.directory}")
    print(f"serve it with: alexnet-server run --repository {output}", file=sys.stderr)


@app.command(epilog="Example: alexnet-build configs --output model_repository")
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


@app.command(epilog="Example: alexnet-build onnx --weights demo --output model.onnx")
def onnx(
    output: Annotated[Path, typer.Option("--output", help="The ONNX file.")],
    weights: Weights = "imagenet",
    precision: GraphPrecision = GraphPrecisionName.fp32,
    labels: Labels = None,
    lrn: LocalResponseNorm = None,
    trust: Trust = False,
) -> None:
    """Export one ONNX file: uint8 pixels in, probabilities out."""
    from alexnet_build.onnx_from_network import onnx_from_network

    onnx_from_network(_load(weights, labels, lrn, trust), output, precision=precision.value)
    print(output)


@app.command(epilog="Example: alexnet-build plan --onnx model.onnx --max-batch 32 --output model.plan")
def plan(
    onnx_file: Annotated[Path, typer.Option("--onnx", exists=True, dir_okay=False, help="What onnx exported.")],
    output: Annotated[Path, typer.Option("--output", help="The TensorRT plan.")],
    max_batch: MaxBatch = 64,
    workspace_mib: WorkspaceMiB = 1024,
    timing_cache: TimingCache = None,
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
    options = PlanOptions(max_batch, workspace_mib << 20, timing_cache, target)
    made = plan_from_onnx(onnx_file, options, builder="tensorrt_rtx" if target else "tensorrt")
    output.write_bytes(made.content)
    print(output)


@app.command(epilog="Example: alexnet-build verify --weights demo --onnx models/alexnet/1/model.onnx")
def verify(
    onnx_file: Annotated[Path, typer.Option("--onnx", exists=True, dir_okay=False, help="What onnx exported.")],
    weights: Weights = "imagenet",
    precision: Precision = PrecisionName.fp32,
    photographs: Photographs = None,
    labels: Labels = None,
    lrn: LocalResponseNorm = None,
    trust: Trust = False,
) -> None:
    """Compare an ONNX file, run by ONNX Runtime, with torch on real photographs."""
    from dataclasses import asdict

    from alexnet_build import verify as steps

    trained = _load(weights, labels, lrn, trust)
    pixels, names = steps.pixels_to_compare(_photographs(photographs), trained.spec)
    reference = steps.torch_probabilities(trained, pixels)
    found = steps.parity(reference, steps.onnxruntime_infer(onnx_file), pixels, names, max_batch=16)
    print(json.dumps(asdict(found), indent=2))
    steps.check_parity(found, precision.value)


app.command(epilog="Example: alexnet-build train --data flowers --epochs 90 --output runs/flowers")(train)
app.command(
    epilog="Example: alexnet-build prune --weights runs/a/weights.safetensors --data flowers --output runs/pruned"
)(prune)
app.command(
    epilog="Example: alexnet-build quantise --weights runs/a/weights.safetensors --data flowers --output runs/int8"
)(quantise)
app.command(
    epilog="Example: alexnet-build compress --weights runs/a/weights.safetensors --data flowers --output runs/small"
)(compress)
app.command(epilog="Example: alexnet-build evaluate --weights demo --data flowers --output runs/flowers/evaluation")(
    evaluate
)


def main() -> None:
    """Run the command line; errors that a user can mend become one message and exit code 1."""
    try:
        app()
        return
    except BuildError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        if error.name in ("modelopt", "requests", "huggingface_hub"):
            extra = "compress"
        else:
            extra = "train" if error.name in ("lightning", "matplotlib", "tensorboard", "torchmetrics") else "build"
        message = (
            f"this needs the Python package {error.name}, which is not installed. In a checkout of this project: "
            f"{sys.executable} -m pip install --editable '.[{extra}]'"
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        message = (
            f"{error.filename or 'a file'} cannot be written: {error.strerror}; make room, or give another --output"
        )
    typer.secho(f"alexnet-build: {message}", fg=typer.colors.RED, err=True)
    sys.exit(1)


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
