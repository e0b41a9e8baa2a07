"""Training for real, but small: three colours, or some flowers, a few steps, on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from alexnet_build.errors import DataError, TrainingError
from alexnet_build.training.augment import Augmentation
from alexnet_build.training.classifier import ClassifierTraining
from alexnet_build.training.evaluate import accuracy
from alexnet_build.training.fit import train
from alexnet_build.training.folders import data_folder_from_path
from alexnet_build.training.images import served_photographs
from alexnet_build.training.progress import history_from_csv
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.trainer import WholeCheckpoints
from alexnet_build.weights import load_weights
from PIL import Image

GENTLE = Augmentation(min_area=0.5, degrees=5, jitter=0.1, erase=0, mix=0)
RECIPE = Recipe(
    epochs=6, batch_size=12, learning_rate=0.02, warmup_epochs=1, dropout=0.0, label_smoothing=0.0, source_side=64,
    augmentation=GENTLE,
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def with_val(coloured_photographs: Path) -> Path:
    """The coloured photographs with val/ in the place of test/."""
    (coloured_photographs / "test").rename(coloured_photographs / "val")
    return coloured_photographs


@pytest.mark.slow
def test_train_learns_and_leaves_everything_beside_the_weights(coloured_photographs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    folder = data_folder_from_path(coloured_photographs)
    report = train(folder, RECIPE, run, progress=False)

    assert report is not None
    assert report.test is not None
    assert report.test.top1 >= 0.9  # three colours; guessing gives a third
    assert json.loads((run / "report.json").read_text())["test"]["top1"] == report.test.top1
    assert Recipe.load(run) == RECIPE
    history = history_from_csv(run / "history.csv")
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1].loss < history[0].loss
    assert history[-1].learning_rate == pytest.approx(0.0, abs=1e-6)
    assert report.images_per_s > 0
    assert list((run / "tensorboard").glob("events.out.tfevents.*")) != []
    assert Image.open(run / "curves.png").width > 500
    assert Image.open(run / "confusion.png").width > 100

    trained = load_weights(str(run / "weights.safetensors"))
    assert trained.spec.labels == ("blue", "green", "red")
    assert not trained.network.batch_norms  # merged
    assert accuracy(trained, served_photographs(folder.test, 227, 256)) == report.test  # type: ignore[arg-type]


@pytest.mark.slow
def test_interrupted_run_goes_on_as_if_it_had_never_stopped(
    with_val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_folder_from_path(with_val)
    recipe = replace(RECIPE, epochs=3, augmentation=Augmentation(), keep="last")
    train(folder, recipe, tmp_path / "whole", progress=False)

    draw = ClassifierTraining.on_train_epoch_start

    def interrupted(module: ClassifierTraining) -> None:
        if module.current_epoch == 2:
            raise KeyboardInterrupt
        draw(module)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTraining, "on_train_epoch_start", interrupted)
        with pytest.raises(TrainingError, match="interrupted in epoch 3 of 3; the same command with --resume goes on"):
            train(folder, recipe, tmp_path / "parted", progress=False)
    assert [row.epoch for row in history_from_csv(tmp_path / "parted" / "history.csv")] == [1, 2]
    report = train(folder, recipe, tmp_path / "parted", resume=True, progress=False)

    assert report is not None
    assert report.epochs == 3
    whole, parted = (load_weights(str(tmp_path / run / "weights.safetensors")) for run in ("whole", "parted"))
    again = train(folder, recipe, tmp_path / "parted", resume=True, progress=False)  # nothing is left to do
    assert again is not None
    assert (again.epochs, again.val) == (3, report.val)
    for (name, expected), found in zip(
        whole.network.state_dict().items(), parted.network.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), name
    events = b"".join(file.read_bytes() for file in (tmp_path / "whole" / "tensorboard").iterdir() if file.is_file())
    assert b"val/confusion" in events
    assert all(tag in events for tag in (b"loss", b"accuracy", b"val/top1", b"lr-SGD", b"images_per_s"))


@pytest.mark.slow
def test_layers_that_join_later_use_their_batch_norm_from_then_on(
    coloured_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[bool]] = []
    rest = ClassifierTraining.on_train_epoch_start

    def looked_at(module: ClassifierTraining) -> None:
        rest(module)
        seen.append([module.network.batch_norms[name].training for name in ("fc7", "conv1")])

    monkeypatch.setattr(ClassifierTraining, "on_train_epoch_start", looked_at)
    recipe = replace(RECIPE, start="demo", unfreeze_epochs=1, epochs=3, learning_rate=0.005)
    train(data_folder_from_path(coloured_photographs), recipe, tmp_path, checkpoint_every=0, progress=False)
    assert seen == [[False, False], [True, False], [True, True]]


@pytest.mark.slow
def test_network_that_starts_from_another_beats_a_fresh_one(shared_data: Path, tmp_path: Path) -> None:
    for split, count in (("train", 20), ("val", 60)):
        for label in ("daisy", "roses", "sunflowers"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for photograph in sorted((shared_data / "flowers" / split / label).iterdir())[:count]:
                shutil.copy(photograph, tmp_path / "data" / split / label)
    folder = data_folder_from_path(tmp_path / "data")
    recipe = Recipe(epochs=4, batch_size=20, learning_rate=0.02, warmup_epochs=1, dropout=0.2, augmentation=GENTLE)
    fresh = train(folder, recipe, tmp_path / "fresh", checkpoint_every=0, progress=False)
    moved = train(
        folder, replace(recipe, start="demo", old_rate=0.3), tmp_path / "moved", checkpoint_every=0, progress=False
    )
    assert fresh is not None
    assert moved is not None
    assert fresh.val is not None
    assert moved.val is not None
    assert moved.val.top1 > fresh.val.top1
    assert moved.val.top1 >= 0.6  # guessing gives a third
    assert Image.open(tmp_path / "moved" / "misclassified.png").width > 100


@pytest.mark.slow
def test_frozen_features_stay_as_they_came(coloured_photographs: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, start="demo", freeze="features", batch_norm=False, epochs=1, learning_rate=0.005)
    train(data_folder_from_path(coloured_photographs), recipe, tmp_path / "run", checkpoint_every=0, progress=False)
    before, after = load_weights("demo"), load_weights(str(tmp_path / "run" / "weights.safetensors"))
    assert after.spec.labels == ("blue", "green", "red")
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        assert torch.equal(getattr(before.network, layer).weight, getattr(after.network, layer).weight)
    assert not torch.equal(before.network.fc7.weight, after.network.fc7.weight)
    assert after.network.fc8.weight.shape == (3, 4096)


@pytest.mark.slow
def test_larger_network_teaches(coloured_photographs: Path, tmp_path: Path) -> None:
    folder = data_folder_from_path(coloured_photographs)
    recipe = replace(RECIPE, epochs=1, architecture="resnet18")
    train(folder, recipe, tmp_path / "teacher", checkpoint_every=0, progress=False)
    teacher = load_weights(str(tmp_path / "teacher" / "weights.safetensors"))
    assert (teacher.spec.architecture, teacher.spec.image_size) == ("resnet18", 224)
    taught = replace(RECIPE, epochs=1, distillation=1.0)
    report = train(folder, taught, tmp_path / "run", teacher=teacher, checkpoint_every=0, progress=False)
    assert report is not None
    assert report.teacher == accuracy(teacher, served_photographs(folder.test, 224, 256))  # type: ignore[arg-type]
    assert load_weights(str(tmp_path / "run" / "weights.safetensors")).spec.architecture == "paper2012"


@pytest.mark.slow
def test_several_processes_share_each_batch(with_val: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "alexnet_build", "train", "--data", str(with_val), "--output", str(tmp_path / "run"),
        "--devices", "2", "--epochs", "1", "--batch-size", "12", "--warmup-epochs", "0", "--from", "demo",
        "--freeze", "features",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'run' / 'weights.safetensors'}\n"  # one of them reports
    assert "MEMBER: 2/2" in done.stderr
    assert "of 12 photographs" in done.stderr
    checkpoint = torch.load(tmp_path / "run" / "last.ckpt", map_location="cpu", weights_only=True)
    assert checkpoint["global_step"] == 2  # 24 photographs in batches of twice six


def test_early_stopping_ends_a_run_that_does_not_improve(with_val: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=0.0, patience=1, batch_norm=False)
    folder = data_folder_from_path(with_val)
    for resume in (False, True):  # a run that has ended so stays ended
        report = train(folder, recipe, tmp_path / "run", resume=resume, progress=False)
        assert report is not None
        assert report.epochs == 2


def test_early_stopping_without_validation_photographs_is_refused(coloured_photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"make a val/ beside train/, or hold some out with --val-fraction 0\.1"):
        train(data_folder_from_path(coloured_photographs), replace(RECIPE, patience=3), tmp_path, progress=False)


def test_loss_that_is_no_number_ends_the_run(coloured_photographs: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=1e9, warmup_epochs=0, batch_norm=False)
    with pytest.raises(TrainingError, match=r"no number any more in epoch \d: lower --learning-rate"):
        train(data_folder_from_path(coloured_photographs), recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_resume_without_a_run_says_so(coloured_photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no run to resume; leave out --resume"):
        train(data_folder_from_path(coloured_photographs), RECIPE, tmp_path / "run", resume=True, progress=False)


def test_resume_with_another_recipe_is_refused(coloured_photographs: Path, tmp_path: Path) -> None:
    RECIPE.save(tmp_path)
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(DataError, match=r"another recipe \(epochs: 9, there 6; seed: 1, there 0\): resume it without"):
        train(
            data_folder_from_path(coloured_photographs), replace(RECIPE, epochs=9, seed=1), tmp_path, resume=True,
            progress=False,
        )  # fmt: skip


def test_teacher_of_other_classes_is_refused(coloured_photographs: Path, tmp_path: Path, trained: Any) -> None:
    with pytest.raises(DataError, match=r"the teacher has 3 classes \(a, b, c, \.\.\.\)"):
        train(data_folder_from_path(coloured_photographs), RECIPE, tmp_path, teacher=trained, progress=False)


def test_full_disk_leaves_the_checkpoint_before_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    (tmp_path / "last.ckpt.part").symlink_to("/dev/full")  # every write to it fails as on a full disk
    with pytest.raises(
        TrainingError, match=r"last\.ckpt cannot be written \(No space left on device; it takes 4 MB, \d+"
    ):
        WholeCheckpoints().save_checkpoint({"weights": torch.zeros(1_000_000)}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert not (tmp_path / "last.ckpt.part").exists()


@pytest.mark.slow
def test_full_disk_while_training_keeps_what_was_saved(
    coloured_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def full_from_the_second_epoch_on(module: ClassifierTraining) -> None:
        if module.current_epoch == 1:
            (run / "last.ckpt.part").symlink_to("/dev/full")

    monkeypatch.setattr(ClassifierTraining, "on_train_epoch_start", full_from_the_second_epoch_on)
    folder = data_folder_from_path(coloured_photographs)
    with pytest.raises(TrainingError, match=r"The one before is whole: make room and run the same command with --res"):
        train(folder, replace(RECIPE, epochs=3), run, progress=False)
    assert torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)["epoch"] == 0

    with pytest.raises(
        DataError, match=r"holds a run already \(last\.ckpt\): go on with --resume, begin anew with --ov"
    ):
        train(folder, RECIPE, run, progress=False)


def test_overwrite_deletes_the_run_before(coloured_photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").touch()
    folder = data_folder_from_path(coloured_photographs)
    recipe = replace(RECIPE, epochs=1, batch_norm=False)
    assert train(folder, recipe, tmp_path, overwrite=True, checkpoint_every=0, progress=False) is not None
    assert not (tmp_path / "best.ckpt").exists()
    assert (tmp_path / "weights.safetensors").exists()


def test_batch_that_devices_cannot_share_is_refused(coloured_photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="a batch of 12 cannot be shared evenly by 5 devices; give another --batch-size"
    ):
        train(data_folder_from_path(coloured_photographs), RECIPE, tmp_path, devices=5, progress=False)
