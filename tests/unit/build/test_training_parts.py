"""The parts of training one by one: data folders, augmentation, recipes, schedules, layers that rest, batches."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from alexnet_build import cli_training
from alexnet_build.cli_training import TRANSFER_DEFAULTS
from alexnet_build.errors import DataError, WeightsError
from alexnet_build.network import AlexNet2012, NetworkSpec, network_from_spec
from alexnet_build.training.augment import Augmentation, _recoloured, _sampling_grid, augmented
from alexnet_build.training.classifier import ClassifierTraining, Teacher
from alexnet_build.training.data import PhotographData
from alexnet_build.training.folders import data_folder_from_path
from alexnet_build.training.images import SquarePhotographs, square_photographs
from alexnet_build.training.progress import EpochRow, history_from_csv
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.transfer import head_of, learns_from, network_to_train
from alexnet_build.weights import TrainedNetwork
from torch.nn import functional


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


def test_photographs_that_fill_the_memory_lie_in_a_file(
    coloured_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = data_folder_from_path(coloured_photographs).train
    in_memory = square_photographs(split, 32, tmp_path)
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 10)  # 40 KB of memory
    before = set(tmp_path.iterdir())
    mapped = square_photographs(split, 32, tmp_path)
    assert torch.equal(mapped.pixels, in_memory.pixels)
    assert torch.equal(mapped.aspects, in_memory.aspects)
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    assert set(tmp_path.iterdir()) == before  # the file has no name, so nothing is left of it


def test_augmented_shows_the_photograph_itself_without_variation() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1)  # grows from left to right
    pixels = ramp.expand(2, 3, 64, 64)
    still = Augmentation(min_area=1.0, max_stretch=1.0, degrees=0, jitter=0, erase=0, mix=0)
    torch.manual_seed(0)
    images = augmented(pixels, torch.ones(2), 64, still)
    for image in images:  # upright, or mirrored
        as_it_is, mirrored = pixels[0] / 255, pixels[0].flip(-1) / 255
        assert torch.allclose(image, as_it_is, atol=1e-5) or torch.allclose(image, mirrored, atol=1e-5)


@pytest.mark.parametrize("policy", ["none", "trivial", "rand"])
def test_augmented_varies_every_image_alone_and_stays_in_range(policy: Any) -> None:
    pixels = torch.randint(0, 256, (1, 3, 48, 48), dtype=torch.uint8).expand(8, 3, 48, 48)
    torch.manual_seed(0)
    images = augmented(pixels, torch.ones(8), 40, Augmentation(policy=policy))
    assert images.shape == (8, 3, 40, 40)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert len({image.sum().item() for image in images}) == 8


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


def test_sampling_grid_is_that_of_torch() -> None:
    theta = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = functional.affine_grid(theta, [4, 3, 9, 9], align_corners=False)
    assert torch.allclose(_sampling_grid(theta, 9), expected, atol=1e-6)


def test_recoloured_is_saturation_then_contrast_then_brightness() -> None:
    levels = torch.randint(40, 200, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    torch.manual_seed(1)
    brightness, contrast, saturation = (torch.empty(2).uniform_(0.9, 1.1).reshape(-1, 1, 1, 1) for _ in range(3))
    luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    images = levels / 255
    grey = (images * luma).sum(1, keepdim=True)
    saturated = grey + (images - grey) * saturation
    mean = grey.mean((2, 3), keepdim=True)
    expected = (mean + (saturated - mean) * contrast) * brightness
    torch.manual_seed(1)
    assert torch.allclose(_recoloured(levels, 0.1), expected, atol=1e-5)


def test_learning_rate_warms_up_and_falls_like_a_cosine() -> None:
    recipe = Recipe(epochs=105, warmup_epochs=5)
    assert recipe.learning_rate_factor(2.5) == pytest.approx(0.5, abs=1e-3)
    assert recipe.learning_rate_factor(5) == pytest.approx(1.0)
    assert recipe.learning_rate_factor(55) == pytest.approx(0.5)
    assert recipe.learning_rate_factor(105) == pytest.approx(0.0, abs=1e-9)


def test_learning_rate_drops_in_steps() -> None:
    recipe = Recipe(schedule="step", step_epochs=30, step_factor=0.1)
    assert [recipe.learning_rate_factor(epoch) for epoch in (0, 29.9, 30, 60)] == pytest.approx([1, 1, 0.1, 0.01])


def test_layers_join_in_stages_and_warm_up_when_they_do() -> None:
    recipe = Recipe(start="demo", unfreeze_epochs=10, old_rate=0.3, warmup_epochs=2, epochs=40, schedule="step")
    assert [learns_from(group, recipe) for group in ("head", "classifier", "features")] == [0, 10, 20]
    module = ClassifierTraining(AlexNet2012(3), NetworkSpec("paper2012", ("a", "b", "c")), recipe)
    rates = {g: module._learning_rate_factor(g, steps_per_epoch=5) for g in ("head", "classifier", "features")}
    assert rates["head"](0) == 1.0
    assert [rates["classifier"](5 * epoch) for epoch in (9, 11, 12)] == pytest.approx([0, 0.15, 0.3], abs=1e-3)
    assert [rates["features"](5 * epoch) for epoch in (19, 21, 22)] == pytest.approx([0, 0.15, 0.3], abs=1e-3)
    frozen = replace(recipe, freeze="features")
    assert learns_from("features", frozen) == float("inf")
    assert learns_from("features", replace(frozen, start="scratch")) == 0


def test_network_to_train_gets_a_new_head_only_for_new_classes() -> None:
    spec, network = network_to_train(("a", "b"), Recipe(start="demo", dropout=0.1))
    name, head = head_of(network)
    assert (spec.labels, name, head.out_features) == (("a", "b"), "fc8", 2)
    assert {module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}
    demo = network_to_train(("a",), Recipe(start="demo"))[1]
    from alexnet_build.weights import load_weights

    known = load_weights("demo")
    same = network_to_train(known.spec.labels, Recipe(start="demo"))[1]
    assert torch.equal(same.fc8.weight, known.network.fc8.weight)
    assert torch.equal(demo.conv3.weight, known.network.conv3.weight)


def test_network_of_torchvision_gets_a_new_head(tmp_path: Path) -> None:
    from torchvision.models import alexnet

    torch.manual_seed(0)
    weights = alexnet().state_dict()
    torch.save(weights, tmp_path / "alexnet.pth")
    spec, network = network_to_train(("a", "b", "c"), Recipe(start=str(tmp_path / "alexnet.pth")))
    assert (spec.architecture, spec.image_size, spec.labels) == ("torchvision", 224, ("a", "b", "c"))
    assert head_of(network)[0] == "classifier.6"
    assert network(torch.zeros(2, 3, 224, 224)).shape == (2, 3)
    assert torch.equal(network.state_dict()["features.3.weight"], weights["features.3.weight"])


def test_layer_of_zeros_lets_nothing_learn() -> None:
    """Why old layers are kept and not set to zero: no gradient passes, in front of the layer or in it."""
    network = AlexNet2012(3, dropout=0.0)
    torch.nn.init.zeros_(network.fc7.weight)
    torch.nn.init.zeros_(network.fc7.bias)
    functional.cross_entropy(network(torch.randn(2, 3, 227, 227)), torch.tensor([0, 1])).backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert {"conv1.weight", "conv5.weight", "fc6.weight", "fc7.weight", "fc8.weight"} <= still


def test_inserted_batch_norm_changes_no_output_and_folds_away(trained: TrainedNetwork) -> None:
    network = AlexNet2012(3)
    network.load_state_dict(trained.network.state_dict())
    network.eval()
    images = torch.randn(8, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
        network.insert_batch_norm(images)
        assert len(network.batch_norms) == 7
        assert torch.allclose(network(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        network.fold_batch_norm()
        assert not network.batch_norms
        assert torch.allclose(network(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_network_starts_with_batch_norm_only_where_asked_for() -> None:
    assert AlexNet2012(3, batch_norm=True).batch_norms
    assert not AlexNet2012(3).batch_norms


def test_other_torchvision_networks_can_teach() -> None:
    teacher = network_from_spec(NetworkSpec("resnet18", ("a", "b", "c")))
    assert NetworkSpec("resnet18", ("a",)).image_size == 224
    judge = Teacher(TrainedNetwork(NetworkSpec("resnet18", ("a", "b", "c")), teacher))
    images = torch.rand(2, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        resized = functional.interpolate(images, size=(224, 224), mode="bilinear")
        taught = teacher((resized - judge.mean) / judge.std)
    assert float(judge.divergence(taught, images, 2.0)) == pytest.approx(0.0, abs=1e-5)
    assert float(judge.divergence(taught + torch.tensor([3.0, 0, 0]), images, 2.0)) > 0.1


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(WeightsError, match="no architecture 'alexnot'; expected paper2012, torchvision"):
        network_from_spec(NetworkSpec("alexnot", ("a", "b")))


def test_devices_share_the_batches_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.zeros(24, 3, 8, 8, dtype=torch.uint8)
    photographs = SquarePhotographs(pixels, torch.ones(24), torch.zeros(24, dtype=torch.int64))
    seen: list[list[int]] = []
    for rank in (0, 1):
        data = PhotographData(photographs, None, 2, 8, Recipe(batch_size=12))
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank, current_epoch=0)
        loader = data.train_dataloader()
        batches = [indices.tolist() for (indices,) in loader]
        assert [len(batch) for batch in batches] == [6, 6]
        data.trainer.current_epoch = 1
        assert [indices.tolist() for (indices,) in loader] != batches  # shuffled anew
        seen += batches
    assert sorted(index for batch in seen for index in batch) == list(range(24))


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(
        "epoch,seconds,images_per_s,learning_rate,loss,accuracy,val_loss,val_top1,val_top5\n1,2.0,3.0,0.1,1.5,0.5,,,\n"
    )
    assert history_from_csv(tmp_path / "history.csv") == [EpochRow(1, 2.0, 3.0, 0.1, 1.5, 0.5)]
    assert history_from_csv(tmp_path / "no.csv") == []


def test_recipe_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3).changed({"policy": "trivial", "seed": 4})
    assert recipe.augmentation.policy == "trivial"
    recipe.save(tmp_path)
    assert Recipe.load(tmp_path) == Recipe.load(tmp_path / "recipe.json") == recipe
    with pytest.raises(DataError, match=r"there is no recipe .*nowhere"):
        Recipe.load(tmp_path / "nowhere")
    (tmp_path / "recipe.json").write_text('{"epoch": 3, "augmentation": {}}')
    with pytest.raises(DataError, match="is no recipe of this version"):
        Recipe.load(tmp_path)


def test_options_show_the_defaults_of_the_recipe() -> None:
    for name, parameter in inspect.signature(cli_training.train, eval_str=True).parameters.items():
        if name in cli_training.NOT_OF_THE_RECIPE or name in ("start", "teacher", "batch_norm", "precision"):
            continue
        option = get_args(parameter.annotation)[1]
        recipe = Recipe()
        expected = getattr(recipe, name) if hasattr(recipe, name) else getattr(recipe.augmentation, name)
        shown = str(option.show_default).split(";")[0]
        if name in TRANSFER_DEFAULTS and name == "old_rate":
            expected = TRANSFER_DEFAULTS[name]
        assert shown in (str(expected), str(expected).removesuffix(".0"), {True: "on", False: "off"}.get(expected)), (
            name
        )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"freeze": "features"}, "--freeze is for old layers, and a run from scratch has none; add --from"),
        ({"temperature": 3.0}, "--temperature is for learning from a teacher; add --teacher FILE"),
        ({"step_factor": 0.3}, "--step-factor is for the other schedule; add --schedule step"),
        ({"start": "demo", "architecture": "resnet18"}, "--architecture is for runs from scratch"),
        ({"architecture": "resnet18", "batch_norm": True}, "--batch-norm is for the paper2012 network alone"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        cli_training._recipe(given, None)


def test_transfer_has_defaults_of_its_own() -> None:
    assert cli_training._recipe({}, None) == Recipe()
    moved = cli_training._recipe({"start": "demo", "epochs": 7}, None)
    assert (moved.learning_rate, moved.old_rate, moved.epochs) == (0.02, 0.3, 7)
