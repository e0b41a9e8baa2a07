"""Ensembles that contradict the models they are made of: each fault alone, in a repository that is sound else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_server.findings import Finding

Checker = Callable[..., tuple[Finding, ...]]
Editor = Callable[[Path, str, str], None]


def test_step_without_model_is_found(sound: Path, file_findings: Checker) -> None:
    (sound / "alexnet").rename(sound / "vgg")

    (finding,) = file_findings(sound)

    assert finding.subject == "ensemble classifier"
    assert finding.found == "its step alexnet is not in the repository, which has classifier, preprocess, vgg"


def test_step_in_a_version_that_is_not_served_is_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    edit(sound / "classifier" / "config.pbtxt", '"alexnet" model_version: -1', '"alexnet" model_version: 7')

    (finding,) = file_findings(sound)

    assert finding.found == "its step alexnet asks for version 7, and 1 is served"
    assert finding.expected == "model_version: -1, which is the newest"


def test_larger_batch_than_a_step_allows_is_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    edit(sound / "alexnet" / "config.pbtxt", "max_batch_size: 4", "max_batch_size: 2")

    (finding,) = file_findings(sound)

    assert finding.subject == "ensemble classifier"
    assert finding.found == "its max_batch_size is 4, that of its step alexnet 2"
    assert finding.expected == "at most 2"


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        (
            'input_map { key: "IMAGE"',
            'input_map { key: "JPEG" value: "IMAGE" } input_map { key: "IMAGE"',
            "its step preprocess maps the input JPEG, which preprocess does not have",
            "one of IMAGE",
        ),
        (
            'output_map { key: "PIXELS"',
            'output_map { key: "PIXEL"',
            "its step preprocess maps the output PIXEL, which preprocess does not have",
            "one of PIXELS",
        ),
        (
            'input_map { key: "PIXELS" value: "PIXELS" }',
            "",
            "its step alexnet maps nothing to the input PIXELS",
            "a tensor for PIXELS",
        ),
        (
            'input_map { key: "PIXELS" value: "PIXELS" }',
            'input_map { key: "PIXELS" value: "IMAGE" }',
            "its tensor IMAGE is STRING [1] in classifier, but UINT8 [8, 8, 3] in alexnet",
            "one type and one shape",
        ),
        (
            "dims: 2 }",
            "dims: 3 }",
            "its tensor PROBABILITIES is FP32 [3] in classifier, but FP32 [2] in alexnet",
            "one type and one shape",
        ),
        (
            'output_map { key: "PIXELS" value: "PIXELS" }',
            'output_map { key: "PIXELS" value: "DECODED" }',
            "nothing produces its tensor PIXELS",
            "one of DECODED, IMAGE, PROBABILITIES",
        ),
    ],
    ids=["input", "output", "unmapped input", "type", "dims", "producer"],
)
def test_tensor_that_does_not_fit_is_found(
    sound: Path, edit: Editor, file_findings: Checker, old: str, new: str, found: str, expected: str
) -> None:
    edit(sound / "classifier" / "config.pbtxt", old, new)

    finding = file_findings(sound)[0]

    assert (finding.subject, finding.found, finding.expected) == ("ensemble classifier", found, expected)
    assert finding.command == f"alexnet-build repository --weights demo --engine onnxruntime --output {sound}"


def test_tensor_without_use_is_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    more = 'input { name: "MORE" data_type: TYPE_STRING dims: 1 }'
    edit(sound / "classifier" / "config.pbtxt", "platform:", f"{more} platform:")

    (finding,) = file_findings(sound)

    assert finding.found == "nothing uses its tensor MORE"


def test_tensor_with_two_producers_is_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    again = 'step { model_name: "preprocess" input_map { key: "IMAGE" value: "IMAGE" }'
    again += 'output_map { key: "PIXELS" value: "PIXELS" } model_version: -1 }'
    edit(sound / "classifier" / "config.pbtxt", "ensemble_scheduling {", f"ensemble_scheduling {{ {again}")

    (finding,) = file_findings(sound)

    assert finding.found == "its tensor PIXELS is produced twice"


def test_models_of_different_size_are_found(sound: Path, edit: Editor, file_findings: Checker) -> None:
    edit(sound / "preprocess" / "config.pbtxt", "dims: [8, 8, 3]", "dims: [9, 9, 3]")

    (finding,) = file_findings(sound)

    assert finding.found == "its tensor PIXELS is UINT8 [9, 9, 3] in preprocess, but UINT8 [8, 8, 3] in alexnet"


def test_open_sizes_and_models_without_batches_fit(sound: Path, edit: Editor, file_findings: Checker) -> None:
    edit(sound / "preprocess" / "config.pbtxt", "dims: [8, 8, 3]", "dims: [-1, -1, 3]")
    edit(sound / "alexnet" / "config.pbtxt", "max_batch_size: 4", "max_batch_size: 0")
    edit(sound / "alexnet" / "config.pbtxt", "dims: [8, 8, 3]", "dims: [-1, 8, 8, 3]")
    edit(sound / "alexnet" / "config.pbtxt", "dims: 2", "dims: [-1, 2]")

    assert file_findings(sound) == ()
