"""The command ``alexnet-build inspect``."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alexnet_build.insight.inspection import Inspection, InspectOptions


class FormatName(str, Enum):
    """What stdout gets."""

    table = "table"
    json = "json"


class TorchPrecisionName(str, Enum):
    """Arithmetic of torch."""

    fp32 = "fp32"
    fp16 = "fp16"


def inspect(
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", exists=True, dir_okay=False, help="A TensorRT plan, on the GPU that it was built for."),
    ] = None,
    onnx_file: Annotated[
        Path | None,
        typer.Option("--onnx", exists=True, dir_okay=False, help="An ONNX file, run by ONNX Runtime on the CPU."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="A network in torch, on the GPU if there is one: imagenet, demo or a file."),
    ] = None,
    batch_sizes: Annotated[
        str | None,
        typer.Option("--batch-sizes", metavar="N,N,...", help="Without it, those of 1,8,32,64 that the engine takes."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Batches that are timed, each way and size.")] = 20,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of the CPU; without it, one a core.")
    ] = None,
    precision: Annotated[
        TorchPrecisionName | None,
        typer.Option("--precision", help="Arithmetic of --weights; fp16 needs a GPU. fp32 without it."),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Load a version-compatible plan, too. It holds code for the processor."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for all numbers and for pictures; made if missing.")
    ] = None,
    output_format: Annotated[FormatName, typer.Option("--format", help="What to print.")] = FormatName.table,
) -> None:
    """Show what is in an engine and where its time goes: layers, latency, memory, and the machine's ceilings."""
    if sum(given is not None for given in (plan_file, onnx_file, weights)) != 1:
        raise typer.BadParameter(
            "expected exactly one of --plan, --onnx and --weights", param_hint="--plan / --onnx / --weights"
        )
    _refuse("--precision", precision is not None and weights is None, "--weights")
    _refuse("--trust", trust and plan_file is None, "--plan")
    sizes = None if batch_sizes is None else _batch_sizes(batch_sizes)
    from alexnet_build.insight.inspection import InspectOptions
    from alexnet_build.insight.report import as_json, write_files
    from alexnet_build.insight.table import table

    options = InspectOptions(sizes, repeats, threads or len(os.sched_getaffinity(0)))
    found = _inspection(plan_file, onnx_file, weights, precision or TorchPrecisionName.fp32, trust, options)
    if output is not None:
        write_files(output, found)
        print(f"numbers and pictures are in {output}", file=sys.stderr)
    print(table(found) if output_format is FormatName.table else as_json(found))


def _inspection(
    plan_file: Path | None, onnx_file: Path | None, weights: str | None, precision: TorchPrecisionName, trust: bool,
    options: InspectOptions,
) -> Inspection:  # fmt: skip
    if plan_file is not None:
        from alexnet_build.insight.inspect_plan import inspect_plan

        return inspect_plan(plan_file, options, trust=trust)
    if onnx_file is not None:
        from alexnet_build.insight.inspect_onnx import inspect_onnx

        return inspect_onnx(onnx_file, options)
    from alexnet_build.insight.inspect_torch import inspect_torch
    from alexnet_build.weights import load_weights

    assert weights is not None
    return inspect_torch(load_weights(weights), precision.value, options)


def _batch_sizes(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise typer.BadParameter(
            f"{text!r} is no list of batch sizes; expected e.g. 1,8,32", param_hint="--batch-sizes"
        )
    return tuple(sorted({int(size) for size in sizes}))


def _refuse(option: str, given: bool, other: str) -> None:
    if given:
        raise typer.BadParameter(f"it is for {other} alone", param_hint=option)
