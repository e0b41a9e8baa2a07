from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from alexnet_build.cli import app
from alexnet_build.errors import DataError, EngineError
from alexnet_build.evaluation.metrics import ClassScore, Confusion, agreement, evaluation_from_probabilities
from alexnet_build.evaluation.photographs import labelled_photographs, network_targets, split_directory
from alexnet_build.evaluation.report import as_json, measured_from_answers, table, write_files
from alexnet_build.evaluation.server import server_source, strictly_descending
from alexnet_build.evaluation.sources import (
    BATCH_SIZE,
    Answers,
    Source,
    answers_from_source,
    onnx_source,
    torch_source,
)
from alexnet_build.network import ServingGraph
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.preprocessing import pixels_from_photograph
from alexnet_build.training.folders import Split
from alexnet_build.weights import TrainedNetwork, save_weights
from PIL import Image
from typer.testing import CliRunner

LABELS = ("ant", "bee", "cat")

#: Runs the command line in a process in which the libraries named in its first argument cannot be imported.
WITHOUT = """
import sys
refused = sys.argv.pop(1).split(",")
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} must not be imported here", name=name)
sys.meta_path.insert(0, Refuse())
from alexnet_build.cli import main
main()
"""


def rows(*answers: Sequence[float]) -> np.ndarray:
    return np.array(answers, np.float32)


def targets(*classes: int) -> np.ndarray:
    return np.array(classes, np.int64)


def fill(directory: Path, *names: str) -> Path:
    """Small photographs, `label/file` each."""
    for number, name in enumerate(names):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (9 * number % 256, 99, 180)).save(directory / name)
    return directory


# numbers


def test_evaluation_of_perfect_answers() -> None:
    found = evaluation_from_probabilities(
        rows([0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0, 0.2, 0.8]), targets(0, 1, 2), LABELS
    )
    assert (found.photographs, found.top1, found.top5) == (3, 1.0, 1.0)
    assert found.calibration_error == pytest.approx(0.2)
    assert found.negative_log_likelihood == pytest.approx(-math.log(0.8), abs=1e-6)
    assert found.confusions() == []
    assert found.classes == tuple(ClassScore(label, 1, 1.0, 1.0, None, 0) for label in LABELS)
    assert str(found) == "top-1 100.00%, top-5 100.00%, calibration error 0.200 of 3 photographs"


def test_evaluation_of_answers_that_are_all_wrong() -> None:
    found = evaluation_from_probabilities(rows([0.1, 0.7, 0.2], [0, 0.3, 0.7], [0.3, 0.7, 0]), targets(0, 1, 2), LABELS)
    assert (found.top1, found.top5) == (0.0, 1.0)  # of three classes, every one is among the first five
    assert found.calibration_error == pytest.approx(0.7)
    assert found.negative_log_likelihood == pytest.approx(-(math.log(0.1) + math.log(0.3) + math.log(1e-6)) / 3)
    assert found.classes == (
        ClassScore("ant", 1, 0.0, None, "bee", 1),
        ClassScore("bee", 1, 0.0, 0.0, "cat", 1),
        ClassScore("cat", 1, 0.0, 0.0, "bee", 1),
    )


def test_evaluation_of_answers_that_are_half_right() -> None:
    answers = rows([0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0, 0.9, 0.1])
    found = evaluation_from_probabilities(answers, targets(0, 0, 0, 1), LABELS)
    assert found.top1 == 0.5
    np.testing.assert_array_equal(found.confusion, [[1, 2, 0], [0, 1, 0], [0, 0, 0]])
    assert found.classes == (  # the worst first, and no line for a class without photographs
        ClassScore("ant", 3, 0.333333, 1.0, "bee", 2),
        ClassScore("bee", 1, 1.0, 0.333333, None, 0),
    )
    assert found.confusions() == [Confusion("ant", "bee", 2, 2 / 3)]


@pytest.mark.parametrize(("place", "top5"), [(0, 1.0), (4, 1.0), (5, 0.0), (6, 0.0)])
def test_top5_counts_the_first_five_of_seven_classes(place: int, top5: float) -> None:
    answers = rows([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05])
    assert evaluation_from_probabilities(answers, targets(place), "abcdefg").top5 == top5


def test_calibration_error_is_weighted_by_the_photographs_of_a_bin() -> None:
    answers = rows([0.95, 0.05], [0.95, 0.05], [0.95, 0.05], [0.45, 0.55])
    found = evaluation_from_probabilities(answers, targets(0, 0, 1, 0), ("ant", "bee"))
    # three with confidence 0.95, two of them right; one with 0.55, wrong
    assert found.calibration_error == pytest.approx(3 / 4 * abs(2 / 3 - 0.95) + 1 / 4 * 0.55, abs=1e-6)


def test_calibration_error_has_a_confidence_of_one_in_the_last_bin() -> None:
    found = evaluation_from_probabilities(rows([1, 0], [0.96, 0.04]), targets(1, 0), ("ant", "bee"))
    assert found.calibration_error == pytest.approx(abs(1 / 2 - 0.98), abs=1e-6)


def test_evaluation_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"2 targets and 3 labels do not fit \(1, 3\)"):
        evaluation_from_probabilities(rows([1, 0, 0]), targets(0, 1), LABELS)


def test_agreement_compares_photograph_by_photograph() -> None:
    found = agreement(rows([0.9, 0.1], [0.6, 0.4]), ("ant", "bee"), rows([0.8, 0.2], [0.4, 0.6]), ("ant", "bee"))
    assert found.top1 == 0.5
    assert found.max_probability_difference == pytest.approx(0.2)


def test_agreement_matches_classes_by_name() -> None:
    found = agreement(rows([0.9, 0.1, 0]), LABELS, rows([0.05, 0, 0.95]), ("bee", "dog", "ant"))
    assert found.top1 == 1.0
    assert found.max_probability_difference == pytest.approx(0.05)


def test_strictly_descending_keeps_the_order_of_equal_scores() -> None:
    scores = np.array([0.5, 0.499999, *[1e-6] * 3, *[0.0] * 995], np.float32)
    kept = strictly_descending(scores)
    assert kept.dtype == np.float32
    assert (np.diff(kept) < 0).all()
    np.testing.assert_allclose(kept, scores, atol=1e-9)
    np.testing.assert_array_equal(kept[:2], scores[:2])


# photographs


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["test/ant/0.png", "val/ant/0.png", "train/ant/0.png"], None, "test"),
        (["val/ant/0.png", "train/ant/0.png"], None, "val"),
        (["test/ant/0.png", "train/ant/0.png"], "train", "train"),
        (["ant/0.png", "bee/0.png"], None, ""),
        (["test/0.png", "train/0.png"], None, ""),  # classes that are called so
    ],
)
def test_split_directory_prefers_what_was_not_trained_on(
    tmp_path: Path, names: list[str], asked: str | None, expected: str
) -> None:
    assert split_directory(fill(tmp_path, *names), asked) == tmp_path / expected


def test_split_directory_refuses_what_is_not_there(tmp_path: Path) -> None:
    fill(tmp_path / "trained", "train/ant/0.png")
    with pytest.raises(DataError, match=r"neither test/ nor val/.*give --split train"):
        split_directory(tmp_path / "trained")
    with pytest.raises(DataError, match=r"has no split val: expected .*/val/<label>/<photograph>"):
        split_directory(tmp_path / "trained", "val")
    with pytest.raises(DataError, match="nothing is not a folder"):
        split_directory(tmp_path / "nothing")


def test_labelled_photographs_are_sorted_by_class_and_name(tmp_path: Path) -> None:
    split = labelled_photographs(fill(tmp_path, "bee/1.png", "bee/0.JPG", "ant/deep/0.png", ".hidden/0.png"))
    assert [str(path.relative_to(tmp_path)) for path in split.paths] == ["ant/deep/0.png", "bee/0.JPG", "bee/1.png"]
    assert (split.targets, split.labels) == ((0, 1, 1), ("ant", "bee"))


def test_labelled_photographs_names_every_empty_folder(tmp_path: Path) -> None:
    fill(tmp_path, "ant/0.png")
    (tmp_path / "bee").mkdir()
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="folders without photographs: bee, cat"):
        labelled_photographs(tmp_path)
    with pytest.raises(DataError, match="has no folders"):
        labelled_photographs(tmp_path / "bee")


def test_network_targets_match_by_name_where_the_data_has_some_of_the_classes() -> None:
    split = Split((Path("0"), Path("1"), Path("2")), (0, 1, 1), ("bee", "dog"))
    np.testing.assert_array_equal(network_targets(split, ("dog", "ant", "bee"), "demo"), [2, 0, 0])


def test_network_targets_of_an_unknown_class_name_both_sides() -> None:
    split = Split((Path("0"),), (0,), ("bee", "eel"))
    with pytest.raises(
        DataError, match=r"demo does not know 1 of the data's 2 classes: eel; it knows 3: ant, bee, cat\."
    ):
        network_targets(split, LABELS, "demo")


def test_network_targets_refuse_a_label_that_a_network_has_twice() -> None:
    with pytest.raises(DataError, match="imagenet has several classes with the same name: crane"):
        network_targets(Split((Path("0"),), (0,), ("crane",)), ("crane", "ant", "crane"), "imagenet")


# sources


def test_sources_answer_in_the_order_of_the_photographs(trained: TrainedNetwork, tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in "abc" for number in range(14)]
    paths = labelled_photographs(fill(tmp_path / "data", *names)).paths
    assert len(paths) > BATCH_SIZE
    graph, spec = ServingGraph(trained.network, trained.spec).eval(), trained.spec
    pixels = [pixels_from_photograph(path, spec.image_size, spec.resize_short_side) for path in paths]
    with torch.inference_mode():
        expected = np.stack([graph(torch.from_numpy(image[None]))[0].numpy() for image in pixels])
    onnx_from_network(trained, tmp_path / "model.onnx")
    for source in (torch_source(trained, "w"), onnx_source(tmp_path / "model.onnx")):
        counts: list[int] = []
        answers = answers_from_source(source, paths, counts.append)
        assert (source.labels, sum(counts)) == (("a", "b", "c"), len(paths))
        assert answers.probabilities.dtype == np.float32
        np.testing.assert_allclose(answers.probabilities, expected, atol=1e-5)


def test_unreadable_photographs_are_all_named(trained: TrainedNetwork, tmp_path: Path) -> None:
    fill(tmp_path, *[f"a/{number:02}.png" for number in range(40)])
    (tmp_path / "a/00.png").write_bytes(b"")
    (tmp_path / "a/39.png").write_text("no photograph")
    with pytest.raises(DataError) as raised:
        answers_from_source(torch_source(trained, "w"), labelled_photographs(tmp_path).paths)
    first, *listed = str(raised.value).split("\n  ")
    assert first == "2 of 40 photographs cannot be read; mend or delete them:"
    assert listed[0] == f"{tmp_path / 'a/00.png'}: the image is empty: 0 bytes"
    assert listed[1].startswith(f"{tmp_path / 'a/39.png'}: not an image in a known format")


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        (None, r"does not say what its classes are .*export it again with: alexnet-build onnx"),
        ('{"labels": ["a"]}', r"describes itself in a way that cannot be read: .*export it again"),
    ],
)
def test_onnx_file_that_does_not_describe_itself_is_refused(
    trained: TrainedNetwork, tmp_path: Path, described: str | None, complaint: str
) -> None:
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["PIXELS"], ["PROBABILITIES"])
    graph = onnx.helper.make_graph([node], "g", [value("PIXELS", 1, ["N", 4])], [value("PROBABILITIES", 1, ["N", 4])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    if described is not None:
        onnx.helper.set_model_props(model, {"alexnet_spec": described})
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match=complaint):
        onnx_source(tmp_path / "m.onnx")


def test_onnx_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no graph")
    with pytest.raises(EngineError, match=r"ONNX Runtime cannot load .*m\.onnx"):
        onnx_source(tmp_path / "m.onnx")


def test_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9.*Start one with: alexnet-server run"):
        server_source("127.0.0.1:9")


# the report


def answers_of(name: str, probabilities: np.ndarray) -> Answers:
    source = Source(name, f"the {name}", LABELS, lambda paths, advance: probabilities)
    return Answers(source, probabilities, seconds=2.0)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return labelled_photographs(fill(tmp_path / "data", "ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png"))


HALF = rows([0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0, 0.9, 0.1])
MOSTLY = rows([0.9, 0.1, 0], [0.7, 0.3, 0], [0.3, 0.7, 0], [0, 0.9, 0.1])


def test_table_of_one_source_is_aligned(split: Split) -> None:
    assert table(measured_from_answers([answers_of("torch", HALF)], split), 10).splitlines() == [
        "4 photographs of 2 classes",
        "",
        "source  from        top-1    top-5  calibration error    NLL  photographs/s",
        "──────  ─────────  ──────  ───────  ─────────────────  ─────  ─────────────",
        "torch   the torch  50.00%  100.00%              0.425  0.756              2",
        "",
        "worst classes",
        "",
        "label  photographs   top-1  precision  most often taken for",
        "─────  ───────────  ──────  ─────────  ────────────────────",
        "ant              3   33.3%     100.0%  bee (2)",
        "bee              1  100.0%      33.3%  –",
        "",
        "most frequent confusions",
        "",
        "true class  taken for  photographs  of the class",
        "──────────  ─────────  ───────────  ────────────",
        "ant         bee                  2         66.7%",
    ]


def test_table_shows_sources_side_by_side(split: Split) -> None:
    shown = table(measured_from_answers([answers_of("torch", HALF), answers_of("onnx", MOSTLY)], split), 0)
    lines = shown.splitlines()
    assert lines[2].endswith("same first class  largest difference")
    assert lines[4].startswith("torch   the torch  50.00%")
    assert lines[5].startswith("onnx    the onnx   75.00%")
    assert lines[5].endswith("75.00%             5.0e-01")
    assert "worst classes (torch)" in lines
    assert "confusions" not in shown  # --top-confusions 0


def test_json_holds_everything_of_each_source(split: Split, tmp_path: Path) -> None:
    measured = measured_from_answers([answers_of("torch", HALF), answers_of("onnx", MOSTLY)], split)
    content = json.loads(as_json(measured, tmp_path))
    assert (content["data"], content["photographs"], content["classes"]) == (str(tmp_path), 4, 2)
    torch_values, onnx_values = content["sources"]
    assert torch_values["agreement"] is None
    assert onnx_values["agreement"] == {"top1": 0.75, "max_probability_difference": pytest.approx(0.5)}
    assert {key: torch_values[key] for key in ("source", "from", "top1", "top5", "photographs_per_s")} == {
        "source": "torch", "from": "the torch", "top1": 0.5, "top5": 1.0, "photographs_per_s": 2.0,
    }  # fmt: skip
    assert onnx_values["confusions"] == [
        {"truth": "ant", "predicted": "bee", "photographs": 1, "share": pytest.approx(1 / 3)}
    ]
    assert [score["label"] for score in torch_values["classes"]] == ["ant", "bee"]


def test_write_files_makes_numbers_and_pictures(split: Split, tmp_path: Path) -> None:
    measured = measured_from_answers([answers_of("torch", HALF), answers_of("onnx", MOSTLY)], split)
    output = tmp_path / "runs" / "evaluation"
    write_files(output, measured, split, tmp_path / "data")
    assert sorted(path.name for path in output.iterdir()) == [
        "confusion.png", "evaluation.json", "misclassified.png", "per_class.csv", "reliability.png",
    ]  # fmt: skip
    assert json.loads((output / "evaluation.json").read_text()) == json.loads(as_json(measured, tmp_path / "data"))
    for path in output.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 200
    assert list(csv.reader((output / "per_class.csv").open())) == [
        ["source", "label", "photographs", "top1", "precision", "confused_with", "confused_photographs"],
        ["torch", "ant", "3", "0.333333", "1.0", "bee", "2"],
        ["torch", "bee", "1", "1.0", "0.333333", "", "0"],
        ["onnx", "ant", "3", "0.666667", "1.0", "bee", "1"],
        ["onnx", "bee", "1", "1.0", "0.5", "", "0"],
    ]


# the command


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "x"],  # nothing to evaluate
        ["--weights", "demo"],
        ["--data", "x", "--weights", "demo", "--split", "holdout"],
        ["--data", "x", "--weights", "demo", "--format", "xml"],
        ["--data", "x", "--onnx", "no-such-file.onnx"],
        ["--data", "x", "--weights", "demo", "--top-confusions", "-1"],
    ],
)
def test_wrong_usage_of_evaluate_exits_with_2(arguments: list[str]) -> None:
    refused = CliRunner().invoke(app, ["evaluate", *arguments])
    assert refused.exit_code == 2
    assert refused.stdout == ""


def test_evaluate_prints_json_on_stdout_and_notes_on_stderr(trained: TrainedNetwork, tmp_path: Path) -> None:
    save_weights(trained, tmp_path / "w.safetensors")
    fill(tmp_path / "data", "train/a/0.png", "val/a/0.png", "val/c/0.png")
    arguments = ["--data", str(tmp_path / "data"), "--weights", str(tmp_path / "w.safetensors"), "--format", "json"]
    done = CliRunner().invoke(app, ["evaluate", *arguments, "--output", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert (content["photographs"], content["sources"][0]["source"]) == (2, "torch")
    assert done.stderr.splitlines() == [
        f"evaluating on 2 photographs in {tmp_path / 'data/val'}",
        f"numbers and pictures are in {tmp_path / 'out'}",
    ]


def test_help_of_evaluate_shows_an_example_without_heavy_libraries() -> None:
    refused = "torch,torchmetrics,matplotlib,onnxruntime,onnx,PIL,tritonclient"
    shown = subprocess.run(
        [sys.executable, "-c", WITHOUT, refused, "evaluate", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "Example: alexnet-build evaluate " in " ".join(shown.stdout.split())


def test_evaluate_without_matplotlib_names_the_extra_that_has_it(tmp_path: Path) -> None:
    arguments = ["evaluate", "--weights", "demo", "--data", str(tmp_path)]
    failed = subprocess.run([sys.executable, "-c", WITHOUT, "matplotlib", *arguments], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "alexnet-build: this needs the Python package matplotlib" in failed.stderr
    assert "-m pip install --editable '.[build]'" in failed.stderr
