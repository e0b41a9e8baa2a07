from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from alexnet_build.cli import app
from alexnet_build.engine import EngineOptions, verified_engine
from alexnet_build.errors import DataError, ParityError
from alexnet_build.plan_from_onnx import PlanOptions
from alexnet_build.verify import (
    LIMITS,
    PHOTOGRAPHS,
    Parity,
    Views,
    check_parity,
    onnxruntime_infer,
    parity,
    photographs_in,
    torch_probabilities,
    views_from_photographs,
    write_worst,
)
from alexnet_build.verify.parity import compared
from alexnet_build.weights import TrainedNetwork
from onnx import numpy_helper
from PIL import Image
from typer.testing import CliRunner

GOOD = Parity(300, 1.0, 1.0, 1e-6, 1e-8)
LABELS = ("a", "b", "c")


def damaged(onnx_file: Path, to: Path) -> Path:
    """The graph with every weight of its first convolution shifted by 0.01."""
    model = onnx.load(str(onnx_file))
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == convolution.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    onnx.save(model, str(to))
    return to


def views_of(count: int, targets: list[int] | None = None) -> Views:
    pixels = np.zeros((count, 8, 8, 3), np.uint8)
    return Views(pixels, tuple(f"{i}.jpg" for i in range(count)), np.array(targets or [-1] * count))


def test_few_photographs_are_seen_in_many_ways(trained: TrainedNetwork, views: Views) -> None:
    assert (len(views), views.pixels.shape[1:]) == (115, (227, 227, 3))
    assert views.names[0] == "camera.jpg"
    assert views.names[5:8] == ("camera.jpg mirrored", "cat.jpg mirrored", "coffee.jpg mirrored")
    assert views.names[-1] == "rocket.jpg crop 20"
    np.testing.assert_array_equal(views.pixels[5], views.pixels[0][:, ::-1])
    assert (views.targets == -1).all()


def test_many_photographs_are_seen_once_each_with_the_class_that_their_folder_names(
    trained: TrainedNetwork, tmp_path: Path
) -> None:
    for label in ("a", "c", "elsewhere"):
        (tmp_path / label).mkdir()
        for index in range(40):
            Image.new("RGB", (30, 20), (index, 0, 0)).save(tmp_path / label / f"{index:02}.png")
    views = views_from_photographs(photographs_in(tmp_path), trained.spec)
    assert views.targets.tolist() == [0] * 40 + [2] * 40 + [-1] * 40
    assert views.names[41] == "c/01.png"


def test_photograph_that_cannot_be_read_is_named(trained: TrainedNetwork, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be compared on: .*; mend it or take it away"):
        views_from_photographs([tmp_path / "broken.jpg"], trained.spec)


def test_parity_compares_every_number() -> None:
    reference = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
    answers = np.array([[0.7, 0.2, 0.1], [0.3, 0.45, 0.25], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2]])
    found = compared(reference, answers, views_of(4, [0, 1, 2, -1]), LABELS)
    assert found.top1_agreement == 0.75
    assert found.top5_agreement == 1.0  # there are three classes
    assert found.max_probability_difference == pytest.approx(0.1)
    assert found.mean_probability_difference == pytest.approx((0 + 0.1 + 0 + 0.1) / 4)
    assert (found.labelled, found.accuracy) == (3, 1.0)
    assert found.reference_accuracy == pytest.approx(2 / 3)
    worst = next(view for view in found.worst if view.name == "1.jpg")
    assert (worst.expected, worst.got) == (("a", 0.4), ("b", 0.45))


def test_parity_counts_how_many_of_the_five_first_classes_are_shared() -> None:
    reference = np.array([[0.3, 0.25, 0.2, 0.15, 0.07, 0.02, 0.01]])
    answers = np.array([[0.3, 0.25, 0.2, 0.15, 0.02, 0.07, 0.01]])
    found = compared(reference, answers, views_of(1), [*"abcdefg"])
    assert (found.top1_agreement, found.top5_agreement) == (1.0, 0.8)


def test_parity_runs_a_batch_of_one_and_then_the_largest() -> None:
    sizes: list[int] = []

    def infer(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        return np.full((len(pixels), 3), 1 / 3)

    parity(np.full((10, 3), 1 / 3), infer, views_of(10), LABELS, max_batch=4)
    assert sizes == [1, 4, 4, 1]


@pytest.mark.parametrize("precision", sorted(LIMITS))
def test_damaged_graph_is_refused_at_the_limits_of_every_precision(
    trained: TrainedNetwork, onnx_files: dict[str, Path], views: Views, tmp_path: Path, precision: str
) -> None:
    shifted = damaged(onnx_files["fp32"], tmp_path / "shifted.onnx")
    reference = torch_probabilities(trained, views.pixels)
    found = parity(reference, onnxruntime_infer(shifted), views, trained.spec.labels, 16)
    with pytest.raises(ParityError, match=rf"the {precision} engine does not agree .*probability difference .*at most"):
        check_parity(found, precision)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"top1_agreement": 0.9}, r"top-1 agreement 90\.00% \(at least 99\.00%\)"),
        ({"max_probability_difference": 0.5}, r"largest probability difference 5\.00e-01 \(at most 2e-02\)"),
        ({"max_probability_difference": float("nan")}, r"largest probability difference nan \(at most 2e-02\)"),
        ({"mean_probability_difference": 0.01}, r"mean probability difference 1\.00e-02 \(at most 2e-03\)"),
        (
            {"labelled": 300, "accuracy": 0.80, "reference_accuracy": 0.82},
            r"accuracy 80\.00% on 300 photographs where torch has 82\.00% \(at most 0\.5 points less\)",
        ),
    ],
)
def test_check_parity_names_what_is_over_which_limit(wrong: dict[str, float], named: str) -> None:
    check_parity(GOOD, "fp16")
    with pytest.raises(ParityError, match=named):
        check_parity(replace(GOOD, **wrong), "fp16")


def test_accuracy_of_a_few_photographs_decides_nothing() -> None:
    check_parity(replace(GOOD, labelled=20, accuracy=0.80, reference_accuracy=0.85), "fp16")


def test_refused_engine_shows_the_views_that_it_was_worst_on(
    trained: TrainedNetwork, monkeypatch: pytest.MonkeyPatch, onnx_files: dict[str, Path], tmp_path: Path
) -> None:
    import alexnet_build.engine as engines

    def damage(_trained: object, path: Path, *_others: object) -> None:
        damaged(onnx_files["fp32"], path)

    monkeypatch.setattr(engines, "onnx_in_precision", damage)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options = EngineOptions(PlanOptions(16), photographs_in(PHOTOGRAPHS))
    with pytest.raises(
        ParityError, match=r"torch says [abc] 0\.\d{3}, the engine [abc] .*\n  They are shown in"
    ) as error:
        verified_engine(trained, "onnxruntime", "fp32", options)
    picture = Path(re.findall(r"shown in (\S+)", str(error.value))[0])
    assert "Nothing was published. Next: " in str(error.value)
    assert Image.open(picture).size == (4 * (227 + 12) + 12, 2 * (227 + 4 * 18 + 12) + 12)


def test_picture_of_the_worst_has_a_cell_for_each(views: Views, tmp_path: Path) -> None:
    reference = np.eye(3)[np.arange(115) % 3] * 0.8 + 0.2 / 3
    found = compared(reference, reference[::-1], views, LABELS)
    assert len(found.worst) == 8
    write_worst(found, views, tmp_path / "pictures" / "worst.png")
    sheet = np.asarray(Image.open(tmp_path / "pictures" / "worst.png"))
    first = views.pixels[found.worst[0].index]
    np.testing.assert_array_equal(sheet[12 : 12 + 227, 12 : 12 + 227], first)


def test_verify_command_prints_parity_and_writes_pictures(tmp_path: Path) -> None:
    exported = CliRunner().invoke(app, ["onnx", "--weights", "demo", "--output", str(tmp_path / "m.onnx")])
    assert exported.exit_code == 0
    command = ["verify", "--weights", "demo", "--onnx", str(tmp_path / "m.onnx"), "--output", str(tmp_path / "out")]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)["onnx"]
    assert found["top1_agreement"] == 1.0
    assert json.loads((tmp_path / "out" / "verify.json").read_text()) == {"onnx": found}
    assert (tmp_path / "out" / "worst_onnx.png").is_file()


def test_verify_command_without_anything_to_compare_is_wrong_usage() -> None:
    said = CliRunner().invoke(app, ["verify", "--weights", "demo"])
    assert said.exit_code == 2
    assert "nothing to compare" in said.output
