"""Pruning, INT8 and packing for real, but small: three colours, a few steps, on the CPU."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from alexnet_build.cli import app
from alexnet_build.compression.pack import Grid, Packing, RoundSchedule, compress, plain_weights
from alexnet_build.compression.prune import (
    PruneSchedule,
    has_two_in_four,
    layer_zeros,
    prune,
    prune_globally,
    prune_two_in_four,
    sparsity_of,
    weighted_layers,
)
from alexnet_build.compression.quantise import fake_quantised, quantise
from alexnet_build.compression.retrain import KeepZeros, Retraining
from alexnet_build.errors import DataError, WeightsError
from alexnet_build.network import NetworkSpec, network_from_spec
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.training.augment import Augmentation
from alexnet_build.training.evaluate import accuracy
from alexnet_build.training.folders import data_folder_from_path
from alexnet_build.training.progress import history_from_csv
from alexnet_build.training.recipe import Recipe
from alexnet_build.verify import onnxruntime_infer
from alexnet_build.weights import TrainedNetwork, load_weights, save_weights
from torch import Tensor, nn
from torch.nn.utils import parametrize
from typer.testing import CliRunner

pytestmark = pytest.mark.filterwarnings("ignore")

LABELS = ("blue", "green", "red")
GENTLE = Augmentation(min_area=0.5, degrees=5, jitter=0.1, erase=0, mix=0)
RECIPE = Recipe(
    epochs=3, batch_size=12, learning_rate=0.005, warmup_epochs=0, dropout=0.0, source_side=64, augmentation=GENTLE
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for one another make small layers twenty times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def parent(one_thread: None) -> TrainedNetwork:
    """A small network (torchvision's, 0.3 million weights) that tells the three colours."""
    torch.manual_seed(0)
    spec = NetworkSpec("shufflenet_v2_x0_5", LABELS)
    network = network_from_spec(spec).train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.3  # so that few steps are enough for its statistics
    colours = torch.tensor([(40, 60, 220), (40, 200, 60), (220, 50, 40)]) / 255
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (spec.mean, spec.std))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for step in range(60):
        # Down to nothing, or where it ends depends on the processor; at last, statistics of weights that rest.
        optimiser.param_groups[0]["lr"] = 0.05 * max(0.0, 1 - step / 40)
        targets = torch.arange(12) % 3
        noise = nn.functional.interpolate(torch.rand(12, 3, 24, 24) - 0.5, size=(96, 96), mode="bilinear")
        images = colours[targets][:, :, None, None] + 0.3 * noise
        optimiser.zero_grad()
        nn.functional.cross_entropy(network((images.clamp(0, 1) - mean) / std), targets).backward()
        optimiser.step()
    return TrainedNetwork(spec, network.eval())


def retraining(parent: TrainedNetwork, data: Path, output: Path, epochs: int, **changes: object) -> Retraining:
    recipe = replace(RECIPE, epochs=epochs)
    work = Retraining(parent, data_folder_from_path(data), recipe, output, teacher=parent, progress=False)
    return replace(work, **changes)  # type: ignore[arg-type]


def zero_masks(network: nn.Module) -> dict[str, Tensor]:
    return {name: layer.weight == 0 for name, layer in weighted_layers(network).items()}


def all_kept(before: dict[str, Tensor], network: nn.Module) -> bool:
    after = zero_masks(network)
    return all(bool(after[name][mask].all()) for name, mask in before.items())


# pruning


@pytest.mark.parametrize("score", ["lamp", "magnitude"])
def test_prune_globally_makes_the_share_asked_for_zero_and_keeps_the_parameters(score: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(10, 20, 5), nn.Linear(100, 50)).to(memory_format=torch.channels_last)
    before = dict(network.named_parameters())
    prune_globally(network, 0.5, score)
    half = zero_masks(network)
    assert sum(int(mask.sum()) for mask in half.values()) == 5000
    prune_globally(network, 0.9, score)
    assert sum(int(mask.sum()) for mask in zero_masks(network).values()) == 9000
    assert all_kept(half, network)
    assert all(parameter is before[name] for name, parameter in network.named_parameters())
    assert len(before) == 4


def test_prune_globally_compares_layer_adaptive_magnitudes() -> None:
    """Lee et al. 2021, equation 3: 1 4 9 score 1/14 4/13 1, 16 25 36 score 16/77 25/61 1."""
    network = nn.Sequential(nn.Linear(3, 1), nn.Linear(3, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[2.0, -1.0, 3.0]]))
        network[1].weight.copy_(torch.tensor([[6.0, 4.0, -5.0]]))
    prune_globally(network, 0.5, "lamp")
    assert network[0].weight.tolist() == [[0.0, 0.0, 3.0]]
    assert network[1].weight.tolist() == [[6.0, 0.0, -5.0]]


def test_prune_follows_a_schedule_and_saves_what_it_measured(
    parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path
) -> None:
    work = retraining(parent, coloured_photographs, tmp_path / "pruned", epochs=3)
    report = prune(work, "global", 0.8, "lamp")
    pruned = load_weights(str(tmp_path / "pruned" / "weights.safetensors"))
    count = sum(layer.weight.numel() for layer in weighted_layers(pruned.network).values())
    assert report.sparsity == sparsity_of(pruned.network) == int(0.8 * count) / count
    assert report.layers == layer_zeros(pruned.network)
    assert list(report.accuracy) == ["before", "pruned", "retrained"]
    assert report.accuracy["before"]["test"].top1 == 1.0
    assert accuracy(pruned, work.photographs["test"]) == report.accuracy["retrained"]["test"]
    saved = json.loads((tmp_path / "pruned" / "report.json").read_text())
    assert saved["accuracy"]["retrained"]["test"]["top1"] == report.accuracy["retrained"]["test"].top1
    assert len(history_from_csv(tmp_path / "pruned" / "history.csv")) == 3
    assert Recipe.load(tmp_path / "pruned").keep == "last"
    assert sparsity_of(parent.network) == 0.0  # left as it was


def test_prune_without_epochs_is_one_shot(parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path) -> None:
    work = retraining(parent, coloured_photographs, tmp_path / "pruned", epochs=0)
    report = prune(work, "global", 0.5, "magnitude")
    pruned = load_weights(str(tmp_path / "pruned" / "weights.safetensors")).network
    largest_removed, smallest_kept = 0.0, 1e9
    for name, layer in weighted_layers(pruned).items():
        was, zero = weighted_layers(parent.network)[name].weight.detach(), layer.weight == 0
        assert torch.equal(layer.weight[~zero], was[~zero])
        largest_removed = max(largest_removed, float(was[zero].abs().max())) if zero.any() else largest_removed
        smallest_kept = min(smallest_kept, float(was[~zero].abs().min())) if (~zero).any() else smallest_kept
    assert largest_removed <= smallest_kept
    assert list(report.accuracy) == ["before", "pruned"]
    assert not (tmp_path / "pruned" / "history.csv").exists()


def test_prune_refuses_what_is_that_sparse_already(
    parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path
) -> None:
    sparse = replace(parent, network=copy.deepcopy(parent.network))
    prune_globally(sparse.network, 0.6, "magnitude")
    with pytest.raises(WeightsError, match=r"60.00% of the network's weights are zero already"):
        prune(retraining(sparse, coloured_photographs, tmp_path, epochs=0), "global", 0.6, "magnitude")


def test_has_two_in_four_looks_along_the_input_channels() -> None:
    along_channels = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0]).reshape(1, 8, 1, 1).expand(2, 8, 3, 4)
    assert has_two_in_four(along_channels)
    assert has_two_in_four(along_channels[:, :, 0, 0])
    assert not has_two_in_four(along_channels.movedim(1, -1))
    assert not has_two_in_four(torch.tensor([[1.0, 2.0, 3.0, 0.0]]))
    assert not has_two_in_four(torch.zeros(1, 3))


def test_two_in_four_holds_on_alexnet_where_shapes_allow_it(trained: TrainedNetwork) -> None:
    network = copy.deepcopy(trained.network)
    prune_two_in_four(network)
    layers = layer_zeros(network)
    assert [name for name, layer in layers.items() if layer.two_in_four] == [
        "conv2", "conv3", "conv4", "conv5", "fc6", "fc7",
    ]  # fmt: skip
    assert {layer.sparsity for layer in layers.values() if layer.two_in_four} == {0.5}
    assert torch.equal(network.conv1.weight, trained.network.conv1.weight)
    assert torch.equal(network.fc8.weight, trained.network.fc8.weight)
    fours = network.conv3.weight[5, :4, 1, 2], trained.network.conv3.weight[5, :4, 1, 2]
    kept = fours[1].abs().topk(2).indices
    assert torch.equal(fours[0][kept], fours[1][kept])  # the larger two


def test_two_in_four_outlasts_retraining(parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path) -> None:
    work = retraining(parent, coloured_photographs, tmp_path / "pruned", epochs=1)
    report = prune(work, "2:4", 0.9, "lamp")
    one_shot = copy.deepcopy(parent.network)
    prune_two_in_four(one_shot)
    pruned = load_weights(str(tmp_path / "pruned" / "weights.safetensors")).network
    having = [name for name, layer in layer_zeros(one_shot).items() if layer.two_in_four]
    assert "conv5.0" in having
    assert [name for name, layer in report.layers.items() if layer.two_in_four] == having
    assert all(has_two_in_four(weighted_layers(pruned)[name].weight) for name in having)
    assert not torch.equal(pruned.conv5[0].weight, one_shot.conv5[0].weight)  # it was trained
    assert report.score is None


# INT8


@pytest.mark.slow
def test_quantise_measures_the_graph_that_it_writes_and_keeps_zeros(
    parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path
) -> None:
    sparse = replace(parent, network=copy.deepcopy(parent.network))
    prune_globally(sparse.network, 0.1, "magnitude")
    zeros = zero_masks(sparse.network)
    work = retraining(sparse, coloured_photographs, tmp_path / "int8", epochs=1)
    report = quantise(work)
    assert list(report.accuracy) == ["fp32 before", "int8 before", "fp32 after", "int8 after"]
    trained = load_weights(str(tmp_path / "int8" / "weights.safetensors"))
    assert all_kept(zeros, trained.network)
    assert not torch.equal(trained.network.fc.weight, sparse.network.fc.weight)
    assert accuracy(trained, work.photographs["test"]) == report.accuracy["fp32 after"]["test"]

    photographs = work.folder.test
    pixels = np.stack([pixels_from_photograph(path, 224, 256) for path in photographs.paths])  # type: ignore[union-attr]
    guesses = onnxruntime_infer(tmp_path / "int8" / "model.onnx")(pixels).argmax(1)
    hits = np.mean(guesses == np.array(photographs.targets))  # type: ignore[union-attr]
    assert report.accuracy["int8 after"]["test"].top1 == hits
    assert report.accuracy["int8 before"]["test"].top1 >= 0.9  # guessing gives a third
    assert report.onnx_bytes == (tmp_path / "int8" / "model.onnx").stat().st_size


def test_fake_quantisers_have_the_engine_s_levels(parent: TrainedNetwork) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
    network = fake_quantised(parent.network, parent.spec, pixels)
    conv = network.conv5[0]
    assert all(len(row.unique()) <= 128 for row in conv.weight_quantizer(conv.weight))  # 7 bits
    assert conv.weight_quantizer.amax.flatten().tolist() == conv.weight.abs().amax((1, 2, 3)).tolist()
    assert conv.input_quantizer.unsigned  # behind a ReLU
    assert not network.conv1[0].input_quantizer.is_enabled  # pixels, in the engine
    assert network.fc.output_quantizer.is_enabled
    assert parent.network.conv1[0].__class__ is nn.Conv2d  # left as it was


# packing


def test_grid_rounds_to_its_levels_keeps_zeros_and_passes_gradients() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 8)
    with torch.no_grad():
        layer.weight[:, ::2] = 0
    parametrize.register_parametrization(layer, "weight", Grid(layer.weight, 3))
    assert all(len(row.unique()) <= 7 for row in layer.weight)
    assert bool((layer.weight[:, ::2] == 0).all())
    layer(torch.ones(1, 64)).sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, torch.ones(8, 64))


def test_keep_zeros_holds_through_a_grid() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 4))
    with torch.no_grad():
        network[0].weight[:, :8] = 0
    parametrize.register_parametrization(network[0], "weight", Grid(network[0].weight, 4))
    keep = KeepZeros()
    keep.on_train_epoch_start(None, network)  # type: ignore[arg-type]
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.ones(1, 16)).square().sum().backward()
        optimiser.step()
        keep.on_train_batch_end()
    assert bool((network[0].parametrizations.weight.original[:, :8] == 0).all())
    assert bool((network[0].weight[:, 8:] != 0).any())


def test_pruning_and_rounding_share_one_run(parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path) -> None:
    network, how = copy.deepcopy(parent.network), Packing(conv_bits=6, linear_bits=4)
    work = retraining(parent, coloured_photographs, tmp_path, epochs=4)  # pruned in epoch 2, rounded in epoch 3
    work.train(network, [PruneSchedule(0.7, "lamp"), RoundSchedule(how)])
    steps = plain_weights(network)
    count = sum(layer.weight.numel() for layer in weighted_layers(network).values())
    assert sum(int(mask.sum()) for mask in zero_masks(network).values()) >= int(0.7 * count)
    for name, layer in weighted_layers(network).items():
        levels = (layer.weight.detach().flatten(1) / torch.from_numpy(steps[f"{name}.weight"])[:, None]).numpy()
        assert np.abs(levels - levels.round()).max() < 1e-4
        assert np.abs(levels).max() < 2 ** (how.bits(layer) - 1) - 1 + 1e-4
    assert type(network.fc) is nn.Linear


@pytest.mark.slow
def test_prune_quantise_compress_one_after_the_other_keep_all_zeros(
    trained: TrainedNetwork, coloured_photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = TrainedNetwork(trained.spec.with_labels(LABELS), trained.network)
    prune(retraining(network, coloured_photographs, tmp_path / "a", epochs=0), "global", 0.9, "magnitude")
    pruned = load_weights(str(tmp_path / "a" / "weights.safetensors"))
    zeros = zero_masks(pruned.network)
    calibrated = quantise(retraining(pruned, coloured_photographs, tmp_path / "b", epochs=0))
    assert list(calibrated.accuracy) == ["fp32 before", "int8 before"]  # nothing was trained
    ready = load_weights(str(tmp_path / "b" / "weights.safetensors"))
    assert torch.equal(ready.network.fc6.weight, pruned.network.fc6.weight)
    work = retraining(ready, coloured_photographs, tmp_path / "c", epochs=1)
    report = compress(work, Packing(sparsity=0.9, conv_bits=6, linear_bits=5))
    assert "90.0% of the weights are zero already: rounding alone" in capsys.readouterr().err

    path = tmp_path / "c" / "weights.safetensors.xz"
    packed = load_weights(str(path))
    assert all_kept(zeros, packed.network)
    assert all(len(row.unique()) <= 31 for row in packed.network.fc7.weight[:50])  # 2 * 15 + 1 levels
    assert all(len(row.unique()) <= 63 for row in packed.network.conv3.weight)
    assert report.file_bytes == path.stat().st_size < 10_000_000
    assert report.accuracy["packed"]["test"] == accuracy(packed, work.photographs["test"])


def test_compress_refuses_what_its_file_has_no_place_for(
    parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="expected a network without batch normalisation"):
        compress(retraining(parent, coloured_photographs, tmp_path, epochs=1), Packing())


# all steps


def test_other_classes_are_refused(parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path) -> None:
    stranger = replace(parent, spec=parent.spec.with_labels(("a", "b", "c")))
    with pytest.raises(DataError, match=r"the network has 3 classes \(a, b, c, ...\), the data 3 \(blue, green, red"):
        retraining(stranger, coloured_photographs, tmp_path, epochs=1)
    with pytest.raises(DataError, match="the teacher has 3 classes"):
        retraining(parent, coloured_photographs, tmp_path, epochs=1, teacher=stranger)


def test_prune_command_learns_from_the_teacher_that_is_named(
    parent: TrainedNetwork, coloured_photographs: Path, tmp_path: Path
) -> None:
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("parent", "other")}
    save_weights(parent, Path(files["parent"]))
    save_weights(replace(parent, network=network_from_spec(parent.spec)), Path(files["other"]))
    learnt = []
    for teacher, recorded in ((None, files["parent"]), ("none", ""), (files["other"], files["other"])):
        output = tmp_path / f"run {len(learnt)}"
        command = ["prune", "--weights", files["parent"], "--data", str(coloured_photographs), "--epochs", "1"]
        command += ["--sparsity", "0.5", "--distillation", "1", "--batch-size", "24", "--output", str(output)]
        command += ["--teacher", teacher] if teacher else []
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0
        assert done.stdout == f"{output / 'weights.safetensors'}\n"
        assert done.stderr.splitlines()[-4:][0].split() == ["test", "top-1", "top-5"]
        assert [line.split()[0] for line in done.stderr.splitlines()[-3:]] == ["before", "pruned", "retrained"]
        assert Recipe.load(output).teacher == recorded
        learnt.append(load_weights(str(output / "weights.safetensors")).network.state_dict())
    for one, another in ((0, 1), (0, 2), (1, 2)):  # the same but for the teacher
        assert any(not torch.equal(learnt[one][name], learnt[another][name]) for name in learnt[one])


def test_prune_command_refuses_a_sparsity_beside_two_in_four(tmp_path: Path) -> None:
    command = ["prune", "--weights", "demo", "--data", str(tmp_path), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--pattern", "2:4", "--sparsity", "0.9"])
    assert done.exit_code == 2
    assert "leaves half of the weights" in done.stderr


def test_output_that_holds_weights_already_is_refused(coloured_photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").touch()
    command = ["prune", "--weights", "demo", "--data", str(coloured_photographs), "--output", str(tmp_path)]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, DataError)
    assert str(refused.exception) == f"{tmp_path} holds weights.safetensors already; give another --output"
    assert (tmp_path / "weights.safetensors").stat().st_size == 0
