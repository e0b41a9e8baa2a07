"""Training for real, but small: three colours, a few steps, on the CPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from alexnet_build.errors import DataError
from alexnet_build.network import AlexNet2012
from alexnet_build.training.augment import Augmentation, augmented
from alexnet_build.training.compress import compress
from alexnet_build.training.evaluate import accuracy
from alexnet_build.training.fit import train
from alexnet_build.training.folders import data_folder_from_path
from alexnet_build.training.images import served_photographs, square_photographs
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.shrink import Shrinking, SparseGrid, prune_to, sparse_layers
from alexnet_build.weights import load_weights
from torch import nn
from torch.nn.utils import parametrize

GENTLE = Augmentation(min_area=0.5, degrees=5, jitter=0.1, erase=0, mix=0)
RECIPE = Recipe(
    epochs=6,
    batch_size=12,
    learning_rate=0.02,
    warmup_epochs=1,
    dropout=0.0,
    label_smoothing=0.0,
    source_side=64,
    augmentation=GENTLE,
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_train_learns_saves_resumes_and_compresses(coloured_photographs: Path, tmp_path: Path) -> None:
    folder = data_folder_from_path(coloured_photographs)
    run = tmp_path / "run"
    train(folder, replace(RECIPE, epochs=2), run, progress=False)
    first = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    report = train(folder, RECIPE, run, resume=True, progress=False)
    last = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    assert (first["epoch"], first["global_step"]) == (1, 4)  # epochs 0 and 1, two steps each
    assert (last["epoch"], last["global_step"]) == (5, 12)  # went on, did not start again

    assert report.test is not None
    assert report.test.top1 >= 0.9  # three colours; guessing gives a third
    assert json.loads((run / "report.json").read_text())["test"]["top1"] == report.test.top1
    assert Recipe.load(run) == RECIPE
    assert list((run / "tensorboard").glob("events.out.tfevents.*")) != []
    parent = load_weights(str(run / "weights.safetensors"))
    assert parent.spec.labels == ("blue", "green", "red")
    assert not parent.network.batch_norms  # merged
    assert not parent.network.batch_norms  # merged

    how = Shrinking(sparsity=0.9, conv_bits=6, linear_bits=5)
    small = compress(
        parent, folder, replace(RECIPE, epochs=5, learning_rate=1e-3), how, tmp_path / "small", progress=False
    )
    path = tmp_path / "small" / "weights.safetensors.xz"
    shrunk = load_weights(str(path))
    weights = torch.cat([p.flatten() for name, p in shrunk.network.named_parameters() if name.endswith("weight")])
    assert small.file_bytes == path.stat().st_size < 10_000_000
    assert float((weights == 0).float().mean()) >= 0.9
    assert all(len(row.unique()) <= 31 for row in shrunk.network.fc7.weight[:50])  # 2 * 15 + 1 levels
    assert small.before["test"] == report.test
    assert small.after["test"].top1 >= 0.9
    served = served_photographs(folder.test, 227, 256)  # type: ignore[arg-type]
    assert accuracy(shrunk, served) == small.after["test"]  # the file holds what was measured


def test_resume_without_a_run_says_so(coloured_photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no run to resume; leave out --resume"):
        train(data_folder_from_path(coloured_photographs), RECIPE, tmp_path / "run", resume=True, progress=False)


def test_val_fraction_holds_out_a_share_of_every_class(coloured_photographs: Path) -> None:
    folder = data_folder_from_path(coloured_photographs, val_fraction=0.25, seed=1)
    assert folder.val is not None
    assert (len(folder.train), len(folder.val)) == (18, 6)
    assert sorted(folder.val.targets) == [0, 0, 1, 1, 2, 2]
    assert set(folder.train.paths).isdisjoint(folder.val.paths)
    assert folder == data_folder_from_path(coloured_photographs, val_fraction=0.25, seed=1)
    assert folder != data_folder_from_path(coloured_photographs, val_fraction=0.25, seed=2)


def test_data_folder_names_an_empty_class(coloured_photographs: Path) -> None:
    (coloured_photographs / "train" / "yellow").mkdir()
    with pytest.raises(DataError, match="yellow has no photographs; fill the folder or take it away"):
        data_folder_from_path(coloured_photographs)


def test_data_folder_names_a_class_that_train_lacks(coloured_photographs: Path) -> None:
    (coloured_photographs / "train" / "red").rename(coloured_photographs / "red")
    with pytest.raises(DataError, match="classes that the training photographs lack: red"):
        data_folder_from_path(coloured_photographs)


def test_data_folder_refuses_a_fraction_beside_a_val_of_its_own(coloured_photographs: Path) -> None:
    (coloured_photographs / "test").rename(coloured_photographs / "val")
    with pytest.raises(DataError, match="leave out --val-fraction"):
        data_folder_from_path(coloured_photographs, val_fraction=0.1)


def test_photographs_that_cannot_be_read_are_all_named(coloured_photographs: Path) -> None:
    for name in ("red/0.png", "blue/3.png"):
        (coloured_photographs / "train" / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"2 of 24 photographs cannot be read(.|\n)*blue/3.png(.|\n)*red/0.png"):
        square_photographs(data_folder_from_path(coloured_photographs).train, 32)


def test_augmented_shows_the_photograph_itself_without_variation() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1)  # grows from left to right
    pixels = ramp.expand(2, 3, 64, 64)
    still = Augmentation(min_area=1.0, max_stretch=1.0, degrees=0, jitter=0, erase=0, mix=0)
    torch.manual_seed(0)
    images = augmented(pixels, torch.ones(2), 64, still)
    for image in images:  # upright, or mirrored
        as_it_is, mirrored = pixels[0] / 255, pixels[0].flip(-1) / 255
        assert torch.allclose(image, as_it_is, atol=1e-5) or torch.allclose(image, mirrored, atol=1e-5)


def test_augmented_keeps_proportions_of_a_wide_photograph() -> None:
    """A circle in a 2:1 photograph, squeezed to a square, is a circle again in every crop."""
    row, column = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    circle = ((row - 100) ** 2 + ((column - 100) * 2) ** 2 < 50**2).to(torch.uint8) * 255  # squeezed: half as wide
    how = Augmentation(min_area=0.5, max_stretch=1.0, degrees=0, jitter=0, erase=0, mix=0)
    torch.manual_seed(0)
    images = augmented(circle.expand(16, 3, 200, 200), torch.full((16,), 2.0), 200, how)
    whole = 0
    for image in images[:, 0] > 0.5:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        if rows.min() > 0 and rows.max() < 199 and columns.min() > 0 and columns.max() < 199:
            whole += 1
            height, width = int(rows.max() - rows.min()), int(columns.max() - columns.min())
            assert abs(height - width) <= 3
    assert whole >= 3


def test_learning_rate_warms_up_and_falls_like_a_cosine() -> None:
    recipe = Recipe(epochs=105, warmup_epochs=5)
    assert recipe.learning_rate_factor(2.5) == pytest.approx(0.5, abs=1e-3)
    assert recipe.learning_rate_factor(5) == pytest.approx(1.0)
    assert recipe.learning_rate_factor(55) == pytest.approx(0.5)
    assert recipe.learning_rate_factor(105) == pytest.approx(0.0, abs=1e-9)


def test_learning_rate_drops_in_steps() -> None:
    recipe = Recipe(schedule="step", step_epochs=30, step_factor=0.1)
    assert [recipe.learning_rate_factor(epoch) for epoch in (0, 29.9, 30, 60)] == pytest.approx([1, 1, 0.1, 0.01])


def test_prune_to_removes_the_share_asked_for_and_never_brings_weights_back() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(100, 50), nn.Linear(50, 20))
    for layer in network:
        parametrize.register_parametrization(layer, "weight", SparseGrid(layer.weight, 4))
    layers = sparse_layers(network)
    prune_to(layers, 0.5)
    half = [layer.weight == 0 for layer in network]
    assert sum(int(mask.sum()) for mask in half) == 3000
    with torch.no_grad():
        for layer in network:
            layer.parametrizations.weight.original.add_(1.0)
    assert all(torch.equal(layer.weight == 0, mask) for layer, mask in zip(network, half, strict=True))
    prune_to(layers, 0.9)
    assert all(bool((layer.weight == 0)[mask].all()) for layer, mask in zip(network, half, strict=True))


def test_sparse_grid_rounds_to_its_levels_and_passes_gradients() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 8)
    parametrize.register_parametrization(layer, "weight", SparseGrid(layer.weight, 3))
    original = layer.parametrizations.weight.original
    layer.parametrizations.weight[0].start_rounding(original)
    assert all(len(row.unique()) <= 7 for row in layer.weight)
    layer(torch.ones(1, 64)).sum().backward()
    assert torch.equal(original.grad, torch.ones(8, 64))


def test_trained_network_starts_with_batch_norm_only_where_asked_for() -> None:
    assert AlexNet2012(3, batch_norm=True).batch_norms
    assert not AlexNet2012(3).batch_norms
