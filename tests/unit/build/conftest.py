"""Small networks and photographs that several tests of the builder share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from alexnet_build.network import AlexNet2012, NetworkSpec
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.verify import PHOTOGRAPHS, Views, photographs_in, views_from_photographs
from alexnet_build.weights import TrainedNetwork
from PIL import Image

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


@pytest.fixture(scope="session")
def trained() -> TrainedNetwork:
    """AlexNet with three classes and seeded random weights whose answers differ from image to image."""
    torch.manual_seed(0)
    network = AlexNet2012(3).eval()
    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(layer.weight)
    return TrainedNetwork(NetworkSpec("paper2012", ("a", "b", "c")), network)


@pytest.fixture(scope="session")
def onnx_files(trained: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`trained`, exported in each precision that needs no calibration."""
    folder = tmp_path_factory.mktemp("onnx")
    files = {precision: folder / f"{precision}.onnx" for precision in ("fp32", "fp16", "bf16")}
    for precision, path in files.items():
        onnx_from_network(trained, path, precision=precision)  # type: ignore[arg-type]
    return files


@pytest.fixture(scope="session")
def views(trained: TrainedNetwork) -> Views:
    """The package's photographs as `trained` sees them: 115 views."""
    return views_from_photographs(photographs_in(PHOTOGRAPHS), trained.spec)


@pytest.fixture
def coloured_photographs(tmp_path: Path) -> Path:
    """A data folder with train/ and test/: noisy pictures whose colour is their class."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label, colour in COLOURS.items():
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                noise = generator.integers(-40, 40, (60, 80, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "data"
