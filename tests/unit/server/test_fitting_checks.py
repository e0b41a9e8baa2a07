"""Engines that are not what their manifest or the configs say: each fault alone, in a repository that is sound else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_server.findings import Finding
from alexnet_server.manifest import read_manifest

Checker = Callable[..., tuple[Finding, ...]]
Editor = Callable[[Path, str, str], None]
Changer = Callable[..., None]

REBUILD = "alexnet-build repository --weights demo --engine tensorrt --precision fp16 --output"


def test_sound_repository_with_a_plan_has_no_findings(plans: Path, file_findings: Checker) -> None:
    assert file_findings(plans, hash_engines=True) == ()


@pytest.mark.parametrize(
    "missing",
    ["file", "engine_bytes", "hardware_compatibility", "version_compatible", "tensors", "other_gpus", "weights"],
)
def test_older_manifest_has_no_findings(
    plans: Path, file_findings: Checker, change_manifest: Changer, missing: str
) -> None:
    change_manifest(plans, **{missing: None})

    assert file_findings(plans) == ()


def test_plan_without_manifest_has_no_findings(plans: Path, file_findings: Checker) -> None:
    (plans / "alexnet" / "1" / "manifest.json").unlink()

    assert file_findings(plans) == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "it is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "it is a list, not an object"),
        ('{"engine": "tensorrt", "max_batch": "4"}', 'max_batch is "4", not a whole number'),
        ('{"max_batch": true}', "max_batch is true, not a whole number"),
        ('{"compute_capability": "sm_86"}', "compute_capability is 'sm_86', not like 8.6"),
        ('{"min_batch": 4, "max_batch": 2}', "min_batch is 4, above max_batch, 2"),
        ('{"weights": {"classes": "2"}}', 'weights.classes is "2", not a whole number'),
        ('{"tensors": ["PIXELS"]}', "tensors is not a list of objects with name, kind, type and dims"),
        ('{"other_gpus": [{"engine_bytes": "7"}]}', 'other_gpus[0].engine_bytes is "7", not a whole number'),
    ],
)
def test_manifest_that_cannot_be_understood_is_found(
    plans: Path, file_findings: Checker, text: str, found: str
) -> None:
    path = plans / "alexnet" / "1" / "manifest.json"
    path.write_text(text)

    finding = file_findings(plans)[0]

    assert (finding.subject, finding.found) == ("model alexnet, version 1, manifest.json", found)
    assert finding.command == f"alexnet-build repository --weights demo --engine tensorrt --output {plans}"


def test_manifest_of_another_backend_is_found(plans: Path, file_findings: Checker, change_manifest: Changer) -> None:
    change_manifest(plans, engine="onnxruntime")

    (finding,) = file_findings(plans)

    assert finding.found == 'its manifest says that the engine is for onnxruntime, config.pbtxt backend: "tensorrt"'


def test_truncated_engine_is_found(plans: Path, file_findings: Checker) -> None:
    plan = plans / "alexnet" / "1" / "model.plan"
    plan.write_bytes(plan.read_bytes()[:3])

    (finding,) = file_findings(plans)

    assert finding.subject == "model alexnet, version 1"
    assert finding.found == "model.plan has 3 bytes"
    assert finding.expected == "7 bytes, as its manifest says"
    assert finding.command == f"{REBUILD} {plans}  # or copy {plan} once more from where it was built"


def test_engine_of_other_content_is_found_where_that_is_asked_for(plans: Path, file_findings: Checker) -> None:
    plan = plans / "alexnet" / "1" / "model.plan"
    expected = hashlib.sha256(plan.read_bytes()).hexdigest()
    plan.write_bytes(b"a plot!")

    assert file_findings(plans) == ()
    (finding,) = file_findings(plans, hash_engines=True)

    assert finding.found == f"model.plan has SHA-256 {hashlib.sha256(b'a plot!').hexdigest()}"
    assert finding.expected == f"{expected}, as its manifest says"


@pytest.mark.parametrize(("smallest", "largest"), [(1, 2), (5, 8)])
def test_batch_range_that_the_config_is_outside_of_is_found(
    plans: Path, file_findings: Checker, change_manifest: Changer, smallest: int, largest: int
) -> None:
    change_manifest(plans, min_batch=smallest, max_batch=largest)

    (finding,) = file_findings(plans)

    assert (
        finding.found == f"config.pbtxt says max_batch_size: 4, and model.plan runs batches of {smallest} to {largest}"
    )
    assert finding.expected == f"a max_batch_size of {smallest} to {largest}, or an engine for batches of 4"
    assert finding.command == f"{REBUILD} {plans} --max-batch 4"


def test_labels_of_another_number_than_the_classes_are_found(
    plans: Path, file_findings: Checker, change_manifest: Changer
) -> None:
    change_manifest(plans, weights={"source": "demo", "classes": 101})

    (finding,) = file_findings(plans)

    assert finding.found == "its labels are 2, the classes of its weights 101"
    assert finding.expected == "101 lines, one for each class"


PIXELS = {"name": "PIXELS", "kind": "input", "type": "TYPE_UINT8", "dims": [8, 8, 3]}
PROBABILITIES = {"name": "PROBABILITIES", "kind": "output", "type": "TYPE_FP32", "dims": [2]}


@pytest.mark.parametrize(
    ("tensors", "found", "expected"),
    [
        ([PIXELS], "the output PROBABILITIES TYPE_FP32 [2]", "no output PROBABILITIES"),
        ([PIXELS, PROBABILITIES, PIXELS | {"name": "MASK"}], "no input MASK", "the input MASK TYPE_UINT8 [8, 8, 3]"),
        (
            [PIXELS | {"type": "TYPE_FP32"}, PROBABILITIES],
            "the input PIXELS TYPE_UINT8 [8, 8, 3]",
            "the input PIXELS TYPE_FP32 [8, 8, 3]",
        ),
        (
            [PIXELS | {"dims": [3, 8, 8]}, PROBABILITIES],
            "the input PIXELS TYPE_UINT8 [8, 8, 3]",
            "the input PIXELS TYPE_UINT8 [3, 8, 8]",
        ),
    ],
    ids=["not in the engine", "not in the config", "type", "dims"],
)
def test_tensor_that_is_not_the_engines_is_found(
    plans: Path,
    file_findings: Checker,
    change_manifest: Changer,
    tensors: list[dict],
    found: str,
    expected: str,
) -> None:
    change_manifest(plans, tensors=tensors)

    (finding,) = file_findings(plans)

    assert (finding.found, finding.expected) == (f"config.pbtxt has {found}", f"{expected}, as the engine has")
    assert finding.command == f"{REBUILD} {plans}"


def test_open_and_reshaped_tensors_fit(
    plans: Path, edit: Editor, file_findings: Checker, change_manifest: Changer
) -> None:
    change_manifest(plans, tensors=[PIXELS | {"dims": [-1, -1, 3]}, PROBABILITIES | {"dims": [2, 1, 1]}])
    edit(plans / "alexnet" / "config.pbtxt", "dims: 2 ", "dims: 2 reshape { shape: [2, 1, 1] } ")

    assert file_findings(plans) == ()


def test_default_file_is_the_newest_engine_under_another_name(plans: Path, change_manifest: Changer) -> None:
    change_manifest(plans, file="model_sm86.plan", other_gpus=[{"file": "model_sm89.plan", "max_batch": 9}])
    manifest = read_manifest(plans / "alexnet" / "1")
    assert manifest is not None

    assert manifest.engine("model.plan", default=True) is manifest.engines[0]
    assert manifest.engine("model_sm89.plan", default=False) is manifest.engines[1]
    assert manifest.engine("model_sm120.plan", default=False) is None


def test_default_file_is_the_engine_that_it_is_a_hard_link_to(plans: Path, change_manifest: Changer) -> None:
    version = plans / "alexnet" / "1"
    (version / "model_sm89.plan").hardlink_to(version / "model.plan")
    change_manifest(plans, file="model_sm86.plan", other_gpus=[{"file": "model_sm89.plan"}])
    manifest = read_manifest(version)
    assert manifest is not None

    assert manifest.engine("model.plan", default=True) is manifest.engines[1]


def test_commands_of_a_manifest_that_are_no_build_are_not_passed_on(
    plans: Path, file_findings: Checker, change_manifest: Changer
) -> None:
    for command in ("rm -rf /", "alexnet-build repository 'open"):
        change_manifest(plans, command=command, engine_bytes=8)

        (finding,) = file_findings(plans)

        assert finding.command.startswith(
            f"alexnet-build repository --weights demo --engine tensorrt --output {plans}  #"
        )


def test_manifest_is_read_from_what_the_builder_writes(repository: Path) -> None:
    version = repository / "alexnet" / "1"
    manifest = read_manifest(version)
    values = json.loads((version / "manifest.json").read_text())

    assert manifest is not None
    assert manifest.problems == ()
    assert (manifest.backend, manifest.classes) == ("onnxruntime", 101)
    assert (manifest.engines[0].max_batch, manifest.engines[0].sha256) == (64, values["engine_sha256"])
