"""The demo network as it is served: its accuracy, and that our preprocessing costs it nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from alexnet_build.network import ServingGraph
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.training.evaluate import accuracy
from alexnet_build.training.folders import data_folder_from_path
from alexnet_build.training.images import served_photographs
from alexnet_build.weights import TrainedNetwork, load_weights
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize


@pytest.fixture(scope="module")
def demo() -> TrainedNetwork:
    return load_weights("demo")


def torchvision_pixels(path: Path, size: int) -> np.ndarray:
    """What the transforms of torchvision's AlexNet preset make of a photograph, before its normalisation."""
    preset = Compose([Resize(256, InterpolationMode.BILINEAR, antialias=True), CenterCrop(size)])
    with Image.open(path) as image:
        return np.asarray(preset(image.convert("RGB")))


@torch.inference_mode()
def first_classes(demo: TrainedNetwork, pixels: list[np.ndarray]) -> np.ndarray:
    graph = ServingGraph(demo.network, demo.spec).eval()
    batches = [torch.from_numpy(np.stack(pixels[i : i + 32])) for i in range(0, len(pixels), 32)]
    return torch.cat([graph(batch).argmax(1) for batch in batches]).numpy()


def assert_same_as_torchvision(demo: TrainedNetwork, paths: list[Path]) -> None:
    size = demo.spec.image_size
    ours = [pixels_from_photograph(path, size, demo.spec.resize_short_side) for path in paths]
    theirs = [torchvision_pixels(path, size) for path in paths]
    differences = [np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(ours, theirs, strict=True)]
    agreement = (first_classes(demo, ours) == first_classes(demo, theirs)).mean()
    print(f"{len(paths)} photographs: largest mean pixel difference {max(differences):.3f}, agreement {agreement:.2%}")
    assert max(differences) <= 1.0  # of 255
    assert agreement >= 0.99


def test_preprocessing_agrees_with_torchvision_on_our_photographs(
    demo: TrainedNetwork, photographs: list[Path], tmp_path: Path
) -> None:
    """Each photograph at several sizes, so that it is shrunk, kept and enlarged."""
    paths = []
    for path in photographs:
        for short_side in (180, 256, 333, 700, 1500):
            with Image.open(path) as image:
                scale = short_side / min(image.size)
                resized = image.resize((round(image.width * scale), round(image.height * scale)))
            content = io.BytesIO()
            resized.save(content, "JPEG", quality=90)
            paths.append(tmp_path / f"{path.stem}_{short_side}.jpg")
            paths[-1].write_bytes(content.getvalue())
    assert_same_as_torchvision(demo, paths)


def test_preprocessing_agrees_with_torchvision_on_five_hundred_photographs(
    demo: TrainedNetwork, shared_data: Path
) -> None:
    paths = sorted((shared_data / "caltech101/test").rglob("*.jpg"))[::8]
    paths += sorted((shared_data / "flowers/val").rglob("*.jpg"))[::5]
    assert len(paths) > 500
    assert_same_as_torchvision(demo, paths)


@pytest.mark.slow
def test_demo_network_has_the_accuracy_of_its_model_card(demo: TrainedNetwork, shared_data: Path) -> None:
    split = data_folder_from_path(shared_data / "caltech101").test
    assert split is not None
    assert split.labels == demo.spec.labels
    measured = accuracy(demo, served_photographs(split, 227, 256))
    assert measured.photographs == 2893
    # The card's numbers; another processor's rounding may move a photograph or two.
    assert measured.top1 == pytest.approx(0.8258, abs=0.001)
    assert measured.top5 == pytest.approx(0.9426, abs=0.001)
