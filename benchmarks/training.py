"""Training beside the limit of the network alone, in one run.

    python benchmarks/training.py --data caltech101 --epochs 10 --batch-size 256

The limit is what the network takes for forward, backward and the optimiser's step on one batch that lies ready on the
device: same arithmetic, same batch size, nothing decoded, varied or logged. Beside it stand the variation of images
alone, and the whole of ``alexnet-build train``, photographs, progress and TensorBoard included (steps alone; looks at
``val`` and checkpoints come on top).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from alexnet_build.training.augment import Augmentation, augmented
from alexnet_build.training.classifier import ClassifierTraining
from alexnet_build.training.fit import train
from alexnet_build.training.folders import data_folder_from_path
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.trainer import arithmetic
from alexnet_build.training.transfer import network_to_train
from torch.nn import functional

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def seconds_per_call(call: Callable[[], object], repeats: int) -> float:
    """Mean wall time of a call, the device's work included, after three calls that do not count."""
    cuda = torch.cuda.is_available()
    for _ in range(3):
        call()
    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    if cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def network_alone(labels: tuple[str, ...], recipe: Recipe, repeats: int) -> float:
    """Seconds a step of the network on one batch that lies ready."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    spec, network = network_to_train(labels, recipe)
    network = ClassifierTraining(network, spec, recipe).network.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=device == "cuda"
    )
    images = torch.randn(recipe.batch_size, 3, spec.image_size, spec.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, len(labels), (recipe.batch_size,), device=device)
    dtype = AUTOCAST.get(arithmetic(recipe))

    def step() -> None:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            loss = functional.cross_entropy(network(images), targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return seconds_per_call(step, repeats)


def variation_alone(recipe: Recipe, repeats: int) -> float:
    """Seconds a batch of the variation of images, on the device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = recipe.source_side
    pixels = torch.randint(0, 256, (recipe.batch_size, 3, side, side), dtype=torch.uint8, device=device)
    aspects = torch.full((recipe.batch_size,), 1.3, device=device)
    return seconds_per_call(lambda: augmented(pixels, aspects, 227, Augmentation()), repeats)


def main() -> None:
    """Measure and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=50, help="timed steps of the network alone")
    options = parser.parse_args()
    recipe = Recipe(epochs=options.epochs, batch_size=options.batch_size)
    folder = data_folder_from_path(options.data)
    limits = [options.batch_size / network_alone(folder.train.labels, recipe, options.repeats)]
    varied = options.batch_size / variation_alone(recipe, options.repeats)
    with tempfile.TemporaryDirectory() as output:
        report = train(folder, recipe, Path(output), devices=1)
    assert report is not None
    limits.append(options.batch_size / network_alone(folder.train.labels, recipe, options.repeats))
    limit = sum(limits) / 2
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, {arithmetic(recipe)}, batches of {options.batch_size}", file=sys.stderr)
    print(f"network alone, before and after   {limits[0]:>9,.0f} {limits[1]:>9,.0f} images/s")
    print(f"variation of images alone         {varied:>9,.0f} images/s")
    print(
        f"alexnet-build train               {report.images_per_s:>9,.0f} images/s   {report.images_per_s / limit:.2f}"
    )
    figures = {"device": device, "network_alone": limits, "variation": varied, "train": report.images_per_s}
    print(json.dumps(figures | {"ratio": report.images_per_s / limit}))


if __name__ == "__main__":
    main()
