"""The commands ``alexnet-build train`` and ``alexnet-build compress``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path,
    typer.Option("--data", help="Folder with train/<label>/<photograph>, and val/, test/ if there are any."),
]
Output = Annotated[Path, typer.Option("--output", help="Folder for the results; made if missing.")]
ValFraction = Annotated[
    float,
    typer.Option("--val-fraction", min=0.0, max=0.9, help="Share of the training photographs to hold out."),
]
ArithmeticName = Annotated[
    str | None,
    typer.Option("--precision", help="32-true, bf16-mixed or 16-mixed; without it, bf16-mixed on a GPU that has it."),
]
Progress = Annotated[bool, typer.Option("--progress/--no-progress", help="Show a progress bar.")]


def train(
    data: Data,
    output: Output,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training photographs.")] = 90,
    batch_size: Annotated[int, typer.Option(min=1, help="Photographs a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of SGD, at its highest.")] = 0.05,
    momentum: Annotated[float, typer.Option(min=0, max=1, help="Of SGD, with Nesterov's correction.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(min=0, help="L2 penalty on weights.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="cosine (with warm-up) or step.")] = "cosine",
    warmup_epochs: Annotated[int, typer.Option(min=0, help="Warm-up of the cosine schedule.")] = 5,
    step_epochs: Annotated[int, typer.Option(min=1, help="Epochs between two drops of the step schedule.")] = 30,
    dropout: Annotated[float, typer.Option(min=0, max=1, help="Of fc6 and fc7.")] = 0.5,
    label_smoothing: Annotated[float, typer.Option(min=0, max=1, help="Share of the target spread out.")] = 0.1,
    batch_norm: Annotated[
        bool, typer.Option(help="Train with batch normalisation, merged into the weights at the end.")
    ] = True,
    val_fraction: ValFraction = 0.0,
    precision: ArithmeticName = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    validate_every: Annotated[int, typer.Option(min=1, help="Epochs between two looks at val.")] = 1,
    checkpoint_every: Annotated[
        int, typer.Option(min=0, help="Epochs between two checkpoints to resume from; 0 for none.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.")] = False,
    progress: Progress = True,
) -> None:
    """Train AlexNet (227 pixels) from scratch on a folder of labelled photographs."""
    if schedule not in ("cosine", "step"):
        raise typer.BadParameter(f"{schedule!r} is no schedule; expected cosine or step", param_hint="--schedule")
    from alexnet_build.training import fit
    from alexnet_build.training.folders import data_folder_from_path
    from alexnet_build.training.recipe import Recipe

    folder = data_folder_from_path(data, val_fraction=val_fraction, seed=seed)
    recipe = Recipe(
        batch_norm=batch_norm, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        momentum=momentum, weight_decay=weight_decay, schedule=schedule,  # type: ignore[arg-type]
        warmup_epochs=warmup_epochs, step_epochs=step_epochs, dropout=dropout, label_smoothing=label_smoothing,
        seed=seed, precision=precision or _arithmetic(),
    )  # fmt: skip
    report = fit.train(
        folder, recipe, output, resume=resume, validate_every=validate_every, checkpoint_every=checkpoint_every,
        progress=progress,
    )  # fmt: skip
    print(f"{report.seconds:.0f} s, {report.images_per_s:.0f} images/s", file=sys.stderr)
    for name, measured in (("val", report.val), ("test", report.test)):
        if measured is not None:
            print(f"{name}: {measured}", file=sys.stderr)
    print(output / "weights.safetensors")


def compress(
    data: Data,
    output: Output,
    weights: Annotated[str, typer.Option("--weights", help="The network to compress: demo or a file.")],
    sparsity: Annotated[float, typer.Option(min=0, max=0.999, help="Share of the weights that become zero.")] = 0.93,
    conv_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a convolution's weights.")] = 6,
    linear_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a fully connected layer's weights.")] = 5,
    epochs: Annotated[int, typer.Option(min=5, help="Passes over the training photographs.")] = 60,
    batch_size: Annotated[int, typer.Option(min=1, help="Photographs a step.")] = 256,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of SGD, at its highest.")] = 0.005,
    weight_decay: Annotated[float, typer.Option(min=0, help="L2 penalty on weights.")] = 1e-4,
    dropout: Annotated[float, typer.Option(min=0, max=1, help="Of fc6 and fc7; a pruned network needs less.")] = 0.25,
    val_fraction: ValFraction = 0.0,
    precision: ArithmeticName = None,
    seed: Annotated[int, typer.Option(help="Of order and augmentation.")] = 0,
    progress: Progress = True,
) -> None:
    """Prune and quantise a network while its uncompressed self teaches it; write a small weights file."""
    from alexnet_build.training import compress as step
    from alexnet_build.training.folders import data_folder_from_path
    from alexnet_build.training.recipe import Recipe
    from alexnet_build.training.shrink import Shrinking
    from alexnet_build.weights import load_weights

    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay,
        warmup_epochs=min(2, epochs // 5), dropout=dropout, seed=seed, precision=precision or _arithmetic(),
    )  # fmt: skip
    how = Shrinking(sparsity=sparsity, conv_bits=conv_bits, linear_bits=linear_bits)
    folder = data_folder_from_path(data, val_fraction=val_fraction, seed=seed)
    report = step.compress(load_weights(weights), folder, recipe, how, output, progress=progress)
    kept = report.nonzero / report.weights
    print(f"{report.file_bytes / 1e6:.1f} MB, {kept:.1%} of {report.weights:,} weights left", file=sys.stderr)
    for name in report.after:
        print(f"{name} before: {report.before[name]}", file=sys.stderr)
        print(f"{name} after:  {report.after[name]}", file=sys.stderr)
    print(output / "weights.safetensors.xz")


def _arithmetic() -> str:
    import torch

    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"
