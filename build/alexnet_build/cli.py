"""The command ``alexnet-build``: from weights to a model repository, in one step or one by one.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import errno
import sys

import typer

from alexnet_build.cli_compression import compress, prune, quantise
from alexnet_build.cli_engine import configs, onnx, plan, repository, verify
from alexnet_build.cli_evaluate import evaluate
from alexnet_build.cli_inspect import inspect
from alexnet_build.cli_training import train
from alexnet_build.cli_tune import tune
from alexnet_build.errors import BuildError

app = typer.Typer(
    help="Build a model repository for Triton Inference Server from AlexNet's weights.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


app.command(epilog="Example: alexnet-build repository --weights demo --engine onnxruntime --output models")(repository)
app.command(epilog="Example: alexnet-build configs --output model_repository")(configs)
app.command(epilog="Example: alexnet-build onnx --weights demo --precision int8 --output model.onnx")(onnx)
app.command(epilog="Example: alexnet-build plan --onnx model.onnx --max-batch 32 --output model.plan")(plan)
app.command(epilog="Example: alexnet-build verify --weights demo --onnx models/alexnet/1/model.onnx")(verify)
app.command(epilog="Example: alexnet-build inspect --onnx models/alexnet/1/model.onnx --output runs/inspect")(inspect)
app.command(epilog="Example: alexnet-build tune --repository models --minutes 5")(tune)
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
            extra = "train" if error.name in ("lightning", "tensorboard", "torchmetrics") else "build"
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
