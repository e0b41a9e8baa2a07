"""The command ``alexnet-build train``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from alexnet_build.training.recipe import Recipe


class Freeze(str, Enum):
    """Layers that never learn."""

    nothing = "nothing"
    features = "features"


class Schedule(str, Enum):
    """How the learning rate falls."""

    cosine = "cosine"
    step = "step"


class Policy(str, Enum):
    """Operations that photographs are varied with before they are cropped."""

    none = "none"
    trivial = "trivial"
    rand = "rand"


class Arithmetic(str, Enum):
    """Lightning's names of what a network computes in."""

    auto = "auto"
    fp32 = "32-true"
    bf16 = "bf16-mixed"
    fp16 = "16-mixed"


class Keep(str, Enum):
    """Which epoch's weights are kept."""

    best = "best"
    last = "last"


#: Transfer starts with filters that are worth keeping: smaller steps, and the old layers smaller ones still.
TRANSFER_DEFAULTS: dict[str, Any] = {"learning_rate": 0.02, "old_rate": 0.3}

#: Options that do not change what is learnt.
NOT_OF_THE_RECIPE = (
    "data", "output", "recipe_file", "validate_every", "checkpoint_every", "resume", "overwrite", "devices", "progress",
)  # fmt: skip

START, LEARNING, IMAGES, RUN = "Where it starts", "How it learns", "How images are varied", "How it runs"


def _option(help_text: str, default: Any, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_text, show_default=str(default), rich_help_panel=panel, **more)


def train(
    data: Annotated[
        Path, typer.Option("--data", help="Folder with train/<label>/<photograph>, and val/, test/ if there are any.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for the results; made if missing.")],
    # where it starts
    start: Annotated[
        str | None,
        _option("scratch, imagenet, demo, or a weights file, which gets a new head.", "scratch", START, "--from"),
    ] = None,
    architecture: Annotated[
        str | None,
        _option("paper2012, torchvision (its AlexNet), or e.g. resnet18 as a teacher.", "paper2012", START),
    ] = None,
    batch_norm: Annotated[
        bool | None, _option("Batch normalisation, merged into the weights at the end.", "on for paper2012", START)
    ] = None,
    freeze: Annotated[Freeze | None, _option("features: the convolutions stay as they came.", "nothing", START)] = None,
    unfreeze_epochs: Annotated[
        int | None,
        _option("Head alone for N epochs, then with fc6 and fc7 for N, then all.", 0, START, min=0, metavar="N"),
    ] = None,
    old_rate: Annotated[float | None, _option("Learning rate of old layers, as a factor.", 0.3, START, min=0)] = None,
    teacher: Annotated[
        str | None, _option("Weights of a network for the same classes to learn from.", "none", START)
    ] = None,
    # how it learns
    epochs: Annotated[int | None, _option("Passes over the training photographs.", 90, LEARNING, min=1)] = None,
    batch_size: Annotated[
        int | None, _option("Photographs a step, on all devices together.", 128, LEARNING, min=1)
    ] = None,
    learning_rate: Annotated[
        float | None, _option("Of SGD, at its highest.", "0.05; with --from 0.02", LEARNING, min=0)
    ] = None,
    momentum: Annotated[float | None, _option("Of SGD, Nesterov's.", 0.9, LEARNING, min=0, max=1)] = None,
    weight_decay: Annotated[float | None, _option("L2 penalty on weights.", 0.001, LEARNING, min=0)] = None,
    schedule: Annotated[Schedule | None, _option("cosine (with warm-up), or step.", "cosine", LEARNING)] = None,
    warmup_epochs: Annotated[int | None, _option("Of the cosine.", 5, LEARNING, min=0)] = None,
    step_epochs: Annotated[int | None, _option("Between two drops of step.", 30, LEARNING, min=1)] = None,
    step_factor: Annotated[float | None, _option("At a drop of step.", 0.1, LEARNING, min=0, max=1)] = None,
    dropout: Annotated[float | None, _option("Of fc6 and fc7.", 0.5, LEARNING, min=0, max=1)] = None,
    label_smoothing: Annotated[
        float | None, _option("Share of the target spread out.", 0.1, LEARNING, min=0, max=1)
    ] = None,
    distillation: Annotated[
        float | None, _option("The teacher's share of the loss.", 0.7, LEARNING, min=0, max=1)
    ] = None,
    temperature: Annotated[float | None, _option("Of the teacher's probabilities.", 2.0, LEARNING, min=0.1)] = None,
    patience: Annotated[
        int | None, _option("Looks at val without a better top-1 before the end; 0: none.", 0, LEARNING, min=0)
    ] = None,
    keep: Annotated[Keep | None, _option("Weights of the best epoch by val, or of the last.", "best", LEARNING)] = None,
    # how images are varied
    policy: Annotated[Policy | None, _option("TrivialAugment or RandAugment before the crops.", "none", IMAGES)] = None,
    min_area: Annotated[
        float | None, _option("Smallest share of a photograph in a crop.", 0.3, IMAGES, min=0.01, max=1)
    ] = None,
    degrees: Annotated[float | None, _option("Largest rotation.", 15.0, IMAGES, min=0, max=180)] = None,
    jitter: Annotated[float | None, _option("Of brightness, contrast, saturation.", 0.4, IMAGES, min=0, max=1)] = None,
    erase: Annotated[float | None, _option("Share of images with a blanked patch.", 0.25, IMAGES, min=0, max=1)] = None,
    mix: Annotated[float | None, _option("Share of batches with mixup or cutmix.", 0.8, IMAGES, min=0, max=1)] = None,
    # how it runs
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", help="recipe.json of an earlier run, to repeat it.", rich_help_panel=RUN)
    ] = None,
    val_fraction: Annotated[
        float | None,
        _option("Share of the training photographs to hold out for validation.", 0, RUN, min=0.0, max=0.9),
    ] = None,
    seed: Annotated[int | None, _option("Of weights, order and augmentation.", 0, RUN, min=0)] = None,
    precision: Annotated[Arithmetic | None, _option("auto: bf16-mixed on a GPU that has it.", "auto", RUN)] = None,
    deterministic: Annotated[
        bool | None, _option("The same result every time on a GPU too; slower.", "off", RUN, "--deterministic")
    ] = None,
    validate_every: Annotated[
        int, typer.Option(min=1, help="Epochs between two looks at val.", rich_help_panel=RUN)
    ] = 1,
    checkpoint_every: Annotated[
        int,
        typer.Option(min=0, help="Epochs between two checkpoints to resume from; 0 for none.", rich_help_panel=RUN),
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.", rich_help_panel=RUN)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Begin anew in a folder that holds a run, and delete that run.", rich_help_panel=RUN
        ),
    ] = False,
    devices: Annotated[
        int | None,
        _option("GPUs, or processes on a CPU, that share each batch.", "every GPU, or one process", RUN, min=1),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress.", rich_help_panel=RUN)] = True,
) -> None:
    """Train AlexNet on a folder of labelled photographs, from scratch or from other weights with a new head."""
    options = {name: value.value if isinstance(value, Enum) else value for name, value in locals().items()}
    given = {name: value for name, value in options.items() if name not in NOT_OF_THE_RECIPE and value is not None}
    from alexnet_build.training.fit import train as run
    from alexnet_build.training.folders import data_folder_from_path
    from alexnet_build.training.run_folder import check_resumable
    from alexnet_build.weights import load_weights

    if resume and (overwrite or recipe_file):
        raise typer.BadParameter(
            "a run that goes on keeps its recipe and its files", param_hint="--recipe / --overwrite"
        )
    if resume:
        check_resumable(output)
    recipe = _recipe(given, output if resume else recipe_file)
    folder = data_folder_from_path(data, val_fraction=recipe.val_fraction, seed=recipe.seed)
    report = run(
        folder, recipe, output, teacher=load_weights(recipe.teacher) if recipe.teacher else None, resume=resume,
        overwrite=overwrite, validate_every=validate_every, checkpoint_every=checkpoint_every, devices=devices,
        progress=progress,
    )  # fmt: skip
    if report is None:  # a process that works for the one that reports
        return
    print(f"{report.epochs} epochs, {report.seconds:.0f} s, {report.images_per_s:,.0f} images/s", file=sys.stderr)
    for name, measured in (("teacher", report.teacher), ("val", report.val), ("test", report.test)):
        if measured is not None:
            print(f"{name}: {measured}", file=sys.stderr)
    print(output / "weights.safetensors")


def _recipe(given: dict[str, Any], saved: Path | None) -> Recipe:
    """The saved recipe, or the defaults for a start, with the options that were given."""
    from alexnet_build.errors import DataError
    from alexnet_build.training.recipe import Recipe

    before = Recipe.load(saved) if saved else Recipe()
    transfer = given.get("start", before.start) != "scratch"
    other_network = given.get("start") == "imagenet" or given.get("architecture", "paper2012") != "paper2012"
    if given.get("batch_norm") and other_network:
        raise DataError("--batch-norm is for the paper2012 network alone; torchvision's networks are used as they are")
    if transfer and "architecture" in given:
        raise DataError("--architecture is for runs from scratch; the weights after --from bring their own")
    recipe = before.changed((TRANSFER_DEFAULTS if transfer and not saved else {}) | given)
    for options, useful, why in (
        (("freeze", "unfreeze_epochs", "old_rate"), transfer,
         "for old layers, and a run from scratch has none; add --from demo, imagenet or a file"),
        (("distillation", "temperature"), bool(recipe.teacher), "for learning from a teacher; add --teacher FILE"),
        (("step_epochs", "step_factor"), recipe.schedule == "step", "for the other schedule; add --schedule step"),
    ):  # fmt: skip
        if not useful and (idle := [name for name in options if name in given]):
            raise DataError(f"--{idle[0].replace('_', '-')} is {why}")
    return recipe
