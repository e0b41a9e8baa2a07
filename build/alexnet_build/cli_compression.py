"""The commands ``alexnet-build prune``, ``quantise`` and ``compress``: weights in, smaller or faster ones out."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from alexnet_build.compression.retrain import Retraining, Stages

TRAINING, RUN = "How it is trained on", "How it runs"


class PatternName(str, Enum):
    """Which weights may go."""

    whole_network = "global"
    two_in_four = "2:4"


class ScoreName(str, Enum):
    """What is compared."""

    lamp = "lamp"
    magnitude = "magnitude"


Weights = Annotated[str, typer.Option("--weights", help="The network to start from: demo, imagenet or a file.")]
Data = Annotated[
    Path,
    typer.Option("--data", help="What it was trained on: train/<label>/<photograph>, val/ and test/ if there are any."),
]
Output = Annotated[Path, typer.Option("--output", help="Folder for the results; made if missing.")]
Epochs = Annotated[
    int,
    typer.Option(min=0, help="Passes over the training photographs; 0: no training.", rich_help_panel=TRAINING),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Photographs a step.", rich_help_panel=TRAINING)]
LearningRate = Annotated[float, typer.Option(min=0, help="Of SGD, at its highest.", rich_help_panel=TRAINING)]
WeightDecay = Annotated[float, typer.Option(min=0, help="L2 penalty on weights.", rich_help_panel=TRAINING)]
Dropout = Annotated[
    float, typer.Option(min=0, max=1, help="Of fc6 and fc7; a pruned network needs less.", rich_help_panel=TRAINING)
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="Weights of a network for the same classes to learn from, or none for labels alone.",
        show_default="the network itself as it was",
        rich_help_panel=TRAINING,
    ),
]
Distillation = Annotated[
    float, typer.Option(min=0, max=1, help="The teacher's share of the loss.", rich_help_panel=TRAINING)
]
Temperature = Annotated[float, typer.Option(min=0.1, help="Of the teacher's probabilities.", rich_help_panel=TRAINING)]
ValFraction = Annotated[
    float,
    typer.Option(min=0.0, max=0.9, help="Share of the training photographs to hold out.", rich_help_panel=RUN),
]
Seed = Annotated[int, typer.Option(help="Of order and augmentation.", rich_help_panel=RUN)]
ArithmeticName = Annotated[
    str, typer.Option("--precision", help="auto, 32-true, bf16-mixed or 16-mixed.", rich_help_panel=RUN)
]
Progress = Annotated[bool, typer.Option(help="Show progress.", rich_help_panel=RUN)]


def prune(
    weights: Weights,
    data: Data,
    output: Output,
    pattern: Annotated[
        PatternName,
        typer.Option(help="global: any weights; 2:4: two of each four input channels, which TensorRT can skip."),
    ] = PatternName.whole_network,
    sparsity: Annotated[
        float | None,
        typer.Option(min=0, max=0.999, help="Share of the weights that become zero, with global.", show_default="0.9"),
    ] = None,
    score: Annotated[
        ScoreName | None, typer.Option(help="What global compares across layers.", show_default="lamp")
    ] = None,
    epochs: Epochs = 30,
    batch_size: BatchSize = 256,
    learning_rate: LearningRate = 0.005,
    weight_decay: WeightDecay = 1e-4,
    dropout: Dropout = 0.25,
    teacher: Teacher = None,
    distillation: Distillation = 0.7,
    temperature: Temperature = 2.0,
    val_fraction: ValFraction = 0.0,
    seed: Seed = 0,
    precision: ArithmeticName = "auto",
    progress: Progress = True,
) -> None:
    """Make weights zero, and train the others on so that accuracy follows."""
    given = dict(locals())
    if pattern is PatternName.two_in_four and (sparsity is not None or score is not None):
        raise typer.BadParameter("2:4 leaves half of the weights and compares magnitudes; leave these options out",
                                 param_hint="--sparsity / --score")  # fmt: skip
    from alexnet_build.compression import prune as step

    work = _retraining(given)
    chosen = (score or ScoreName.lamp).value
    report = step.prune(work, pattern.value, 0.9 if sparsity is None else sparsity, chosen)  # type: ignore[arg-type]
    print(f"{report.sparsity:.1%} of the weights are zero", file=sys.stderr)
    if pattern is PatternName.two_in_four:
        for having, word in ((True, "2:4 in"), (False, "as they were:")):
            names = [name for name, layer in report.layers.items() if layer.two_in_four is having]
            print(f"{word} {', '.join(names) or 'no layer'}", file=sys.stderr)
    _print_accuracy(report.accuracy)
    print(output / "weights.safetensors")


def quantise(
    weights: Weights,
    data: Data,
    output: Output,
    epochs: Epochs = 10,
    batch_size: BatchSize = 256,
    learning_rate: LearningRate = 0.001,
    weight_decay: WeightDecay = 1e-4,
    dropout: Dropout = 0.25,
    teacher: Teacher = None,
    distillation: Distillation = 0.7,
    temperature: Temperature = 2.0,
    val_fraction: ValFraction = 0.0,
    seed: Seed = 0,
    precision: ArithmeticName = "32-true",  # bf16 keeps 8 bits: it would round the levels of INT8 once more
    progress: Progress = True,
) -> None:
    """Train a network for INT8 and measure the INT8 engine, before and after."""
    given = dict(locals())
    from alexnet_build.compression import quantise as step

    report = step.quantise(_retraining(given))
    print(f"{output / 'model.onnx'}: INT8, {report.onnx_bytes / 1e6:.1f} MB", file=sys.stderr)
    _print_accuracy(report.accuracy)
    print(output / "weights.safetensors")


def compress(
    weights: Weights,
    data: Data,
    output: Output,
    sparsity: Annotated[float, typer.Option(min=0, max=0.999, help="Share of the weights that become zero.")] = 0.93,
    conv_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a convolution's weights.")] = 6,
    linear_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a fully connected layer's weights.")] = 5,
    epochs: Epochs = 60,
    batch_size: BatchSize = 256,
    learning_rate: LearningRate = 0.005,
    weight_decay: WeightDecay = 1e-4,
    dropout: Dropout = 0.25,
    teacher: Teacher = None,
    distillation: Distillation = 0.7,
    temperature: Temperature = 2.0,
    val_fraction: ValFraction = 0.0,
    seed: Seed = 0,
    precision: ArithmeticName = "auto",
    progress: Progress = True,
) -> None:
    """Prune a network, round what is left to few bits, and write a small weights file."""
    given = dict(locals())
    from alexnet_build.compression import pack as step

    report = step.compress(_retraining(given), step.Packing(sparsity, conv_bits, linear_bits))
    kept = report.nonzero / report.weights
    print(f"{report.file_bytes / 1e6:.1f} MB, {kept:.1%} of {report.weights:,} weights left", file=sys.stderr)
    _print_accuracy(report.accuracy)
    print(output / "weights.safetensors.xz")


def _retraining(given: dict[str, Any]) -> Retraining:
    """What all steps need, from a command's arguments; the network itself teaches unless something else is named."""
    from dataclasses import fields

    from alexnet_build.compression.retrain import Retraining
    from alexnet_build.errors import DataError
    from alexnet_build.training.folders import data_folder_from_path
    from alexnet_build.training.recipe import Recipe
    from alexnet_build.weights import load_weights

    if present := sorted(path.name for path in given["output"].glob("weights.safetensors*")):
        raise DataError(f"{given['output']} holds {', '.join(present)} already; give another --output")
    parent = load_weights(given["weights"])
    source = {None: given["weights"], "none": ""}.get(given["teacher"], given["teacher"])
    own = {f.name for f in fields(Recipe)}
    recipe = Recipe(
        **{name: value for name, value in given.items() if name in own and name != "teacher"},
        teacher=source,
        warmup_epochs=min(2.0, given["epochs"] / 5),
    )
    folder = data_folder_from_path(given["data"], val_fraction=recipe.val_fraction, seed=recipe.seed)
    teacher = parent if given["teacher"] is None else load_weights(source) if source else None
    return Retraining(parent, folder, recipe, given["output"], teacher, given["progress"])


def _print_accuracy(stages: Stages) -> None:
    """A row for each stage, two columns for each split, on stderr."""
    splits = list(next(iter(stages.values())))
    if not splits:
        print("the data have neither val/ nor test/: accuracy was not measured", file=sys.stderr)
        return
    print(f"{'':12}" + "".join(f"{split + ' top-1':>14}{'top-5':>9}" for split in splits), file=sys.stderr)
    for stage, found in stages.items():
        row = "".join(f"{found[split].top1:14.2%}{found[split].top5:9.2%}" for split in splits)
        print(f"{stage:12}{row}", file=sys.stderr)
