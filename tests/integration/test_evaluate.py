"""Torch, ONNX Runtime and a live server, evaluated on the same photographs, come to the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from alexnet_build.errors import DataError
from alexnet_build.evaluation.photographs import labelled_photographs, split_directory
from alexnet_build.evaluation.report import Measured, measured_from_answers
from alexnet_build.evaluation.server import server_source
from alexnet_build.evaluation.sources import Source, answers_from_source, onnx_source, torch_source
from alexnet_build.training.folders import Split
from alexnet_build.weights import load_weights
from alexnet_client import Classifier
from PIL import Image, ImageOps

#: What our photographs show, as far as the demo network has a word for it.
LABELS = {"camera": "camera", "cat": "wild_cat", "coffee": "cup", "portrait": "Faces", "rocket": "minaret"}


@pytest.fixture(scope="module")
def sources(repository: Path, server) -> list[Source]:
    return [
        torch_source(load_weights("demo"), "demo"),
        onnx_source(repository / "alexnet/1/model.onnx"),
        server_source(server.grpc_url),
    ]


@pytest.fixture(scope="module")
def data(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our photographs, each in four versions, under labels of the demo network."""
    folder = tmp_path_factory.mktemp("evaluate")
    for path in photographs:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        (folder / LABELS[path.stem]).mkdir()
        grey, small = ImageOps.grayscale(image), image.resize((image.width // 3, image.height // 3))
        versions = {"upright": image, "mirrored": ImageOps.mirror(image), "grey": grey, "small": small}
        for name, version in versions.items():
            version.save(folder / LABELS[path.stem] / f"{name}.jpg", quality=90)
    return folder


def measured(sources: list[Source], split: Split) -> list[Measured]:
    return measured_from_answers([answers_from_source(source, split.paths) for source in sources], split)


def assert_same_numbers(first: Measured, *others: Measured) -> None:
    for other in others:
        ours, theirs = first.evaluation, other.evaluation
        assert (theirs.photographs, theirs.top1, theirs.top5) == (ours.photographs, ours.top1, ours.top5)
        np.testing.assert_array_equal(theirs.confusion, ours.confusion)
        assert theirs.classes == ours.classes
        assert theirs.calibration_error == pytest.approx(ours.calibration_error, abs=1e-4)
        assert theirs.negative_log_likelihood == pytest.approx(ours.negative_log_likelihood, abs=1e-2)
        assert other.agreement is not None
        assert other.agreement.top1 == 1.0
        assert other.agreement.max_probability_difference < 1e-5


def test_torch_onnx_and_server_give_the_same_numbers_on_our_photographs(sources: list[Source], data: Path) -> None:
    split = labelled_photographs(data)
    assert len(split) == 20
    assert_same_numbers(*measured(sources, split))


def test_torch_onnx_and_server_give_the_same_numbers_on_a_hundred_and_fifty_photographs(
    sources: list[Source], shared_data: Path
) -> None:
    whole = labelled_photographs(split_directory(shared_data / "caltech101"))
    split = Split(whole.paths[::19], whole.targets[::19], whole.labels)
    assert len(split) == 153
    found = measured(sources, split)
    assert_same_numbers(*found)
    assert found[0].evaluation.top1 > 0.7
    assert found[0].evaluation.top5 > 0.85


def test_server_order_is_kept_where_six_decimals_are_equal(sources: list[Source], server, data: Path) -> None:
    paths = labelled_photographs(data).paths
    probabilities = answers_from_source(sources[2], paths).probabilities
    ties = 0
    with Classifier(server.grpc_url) as classifier:
        for row, result in zip(probabilities, classifier.classify_many(paths, top_k=101), strict=True):
            scores = [prediction.score for prediction in result.predictions]
            ties += len(scores) - len(set(scores))
            assert list(np.argsort(-row)) == [prediction.index for prediction in result.predictions]
            np.testing.assert_allclose(np.sort(row)[::-1], scores, atol=1e-7)
    assert ties > 0


def test_server_names_every_photograph_that_it_cannot_read(sources: list[Source], tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    Image.new("RGB", (300, 300)).save(folder / "0.jpg")
    (folder / "1.jpg").write_bytes(b"")
    (folder / "2.jpg").write_bytes((folder / "0.jpg").read_bytes()[:200])
    with pytest.raises(DataError, match="2 of 3 photographs cannot be read; mend or delete them:") as raised:
        answers_from_source(sources[2], labelled_photographs(tmp_path).paths)
    assert str(folder / "1.jpg") in str(raised.value)
    assert str(folder / "2.jpg") in str(raised.value)


def test_command_shows_all_three_side_by_side(repository: Path, server, data: Path, tmp_path: Path) -> None:
    onnx_file = str(repository / "alexnet/1/model.onnx")
    command = ["evaluate", "--data", str(data), "--weights", "demo", "--onnx", onnx_file, "--url", server.grpc_url]
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_build", *command, "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "20 photographs of 5 classes"
    assert [line.split()[0] for line in lines[4:7]] == ["torch", "onnx", "server"]
    assert [line.split()[-2] for line in lines[5:7]] == ["100.00%", "100.00%"]
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert [source["from"] for source in content["sources"]] == ["demo", onnx_file, server.grpc_url]
    assert (tmp_path / "out/confusion.png").stat().st_size > 0
