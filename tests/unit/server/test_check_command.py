"""`alexnet-server check` as a user runs it: exit codes, text and JSON; and `run`, which refuses in the same words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import alexnet_server as package
import pytest
from alexnet_server import PreflightError, running_server
from alexnet_server.discovery import TritonServer
from alexnet_server.findings import Finding, Target

Checker = Callable[..., tuple[Finding, ...]]
Changer = Callable[..., None]
Machine = Callable[..., TritonServer]

FLAG = "--backend-config=tensorrt,version-compatible=true"


def alexnet_server(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alexnet_server", *arguments]
    # The width decides where usage errors break.
    return subprocess.run(command, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=60)


def test_check_says_that_a_plan_fits(plans: Path, machine: Machine) -> None:
    server = machine("8.6")

    checked = alexnet_server("check", "--repository", plans, "--tritonserver", server.executable)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == (
        f"alexnet, classifier, preprocess: nothing is in the way of serving {plans} with "
        f"{server.executable} (--tritonserver)\n"
    )


def test_run_refuses_a_plan_for_another_gpu_in_the_words_of_check(plans: Path, machine: Machine) -> None:
    server = machine("9.0", tensorrt="11.4.1")
    options = ["--repository", plans, "--tritonserver", server.executable]

    checked, run = alexnet_server("check", *options), alexnet_server("run", *options)

    assert (checked.returncode, checked.stderr) == (1, "")
    assert checked.stdout == (
        "model alexnet, version 1: model.plan is a plan built by TensorRT 11.3.0.99, the server's is TensorRT 11.4.1\n"
        "  expected: TensorRT 11.3.0.99 in the server, or a plan built by TensorRT 11.4.1\n"
        "  next: alexnet-build repository --weights demo --engine tensorrt --precision fp16 "
        f"--output {plans}  # where TensorRT 11.4.1 is installed\n"
        "model alexnet, version 1: model.plan was built for compute capability 8.6, "
        "GPU 0 here (NVIDIA Test 9.0) has 9.0\n"
        "  expected: a plan for compute capability 9.0\n"
        "  next: alexnet-build repository --weights demo --engine tensorrt --precision fp16 "
        f"--output {plans}  # on a GPU of compute capability 9.0\n"
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"error: {checked.stdout}"


def test_run_and_check_take_the_flag_that_version_compatible_plans_need(
    plans: Path, machine: Machine, change_manifest: Changer
) -> None:
    change_manifest(plans, version_compatible=True)
    server = machine("8.6", tensorrt="11.4.1")
    options = ["--repository", plans, "--tritonserver", server.executable]

    refused = alexnet_server("check", *options)
    assert refused.returncode == 1
    assert f"next: alexnet-server run --repository {plans} -- {FLAG}" in refused.stdout
    assert alexnet_server("check", *options, "--", FLAG).returncode == 0

    with pytest.raises(PreflightError) as caught, running_server(plans, tritonserver=server.executable):
        pass
    assert f"{caught.value}\n" == refused.stdout


def test_check_for_another_machine_needs_no_server_and_no_gpu(
    plans: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(says="exit 9")
    monkeypatch.setenv("ALEXNET_TRITONSERVER", "/nowhere/tritonserver")

    fits = alexnet_server("check", "--repository", plans, "--gpu", "8.6", "--tensorrt", "11.3")
    refused = alexnet_server("check", "--repository", plans, "--gpu", "8.6", "--gpu", "8.9", "--tensorrt", "11.4")

    assert (fits.returncode, fits.stderr) == (0, "")
    assert fits.stdout.endswith(f"serving {plans} with a GPU of compute capability 8.6 and TensorRT 11.3\n")
    assert refused.returncode == 1
    assert [line for line in refused.stdout.splitlines() if not line.startswith("  ")] == [
        "model alexnet, version 1: model.plan is a plan built by TensorRT 11.3.0.99, the server's is TensorRT 11.4",
        "model alexnet, version 1: model.plan was built for compute capability 8.6, the GPU of --gpu has 8.9",
    ]


def test_what_is_not_said_of_another_machine_is_noted(plans: Path) -> None:
    checked = alexnet_server("check", "--repository", plans, "--gpu", "8.6")

    assert checked.returncode == 0
    assert checked.stderr.startswith("note: what could not be compared: the server's TensorRT")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--gpu", "sm_86"], "'sm_86' is not a compute capability, such as 8.9"),
        (["--tensorrt", "eleven"], "'eleven' is not a version, such as 11.3 or 11.3.0"),
    ],
)
def test_check_refuses_what_is_no_machine(plans: Path, options: list[str], complaint: str) -> None:
    refused = alexnet_server("check", "--repository", plans, *options)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert complaint in refused.stderr


def test_check_hashes_engines_where_that_is_asked_for(plans: Path) -> None:
    (plans / "alexnet" / "1" / "model.plan").write_bytes(b"a plot!")
    options = ["check", "--repository", plans, "--gpu", "8.6", "--tensorrt", "11.3"]

    assert alexnet_server(*options).returncode == 0
    assert "model.plan has SHA-256" in alexnet_server(*options, "--hash").stdout


def test_json_has_findings_and_notes_by_field(plans: Path) -> None:
    checked = alexnet_server("check", "--repository", plans, "--gpu", "9.0", "--json")

    answer = json.loads(checked.stdout)

    assert (checked.returncode, checked.stderr) == (1, "")
    assert (answer["ok"], answer["server"], answer["error"]) == (False, None, None)
    assert [sorted(finding) for finding in answer["findings"]] == [["command", "expected", "found", "subject"]]
    assert answer["findings"][0]["expected"] == "a plan for compute capability 9.0"
    assert [note["subject"] for note in answer["notes"]] == ["what could not be compared"]


def test_json_says_why_there_is_nothing_to_check(tmp_path: Path) -> None:
    checked = alexnet_server("check", "--repository", tmp_path, "--json")

    assert checked.returncode == 1
    assert json.loads(checked.stdout)["error"].startswith(f"the model repository {tmp_path} is empty")


def test_every_public_name_is_there_and_no_other() -> None:
    names = list(package.__all__)

    assert names == sorted(names, key=lambda name: (name.islower(), name))
    assert [name for name in names if getattr(package, name).__name__ != name] == []
    with pytest.raises(AttributeError, match="module 'alexnet_server' has no attribute 'stopping_server'"):
        _ = package.stopping_server


def test_target_is_described_by_what_is_known_of_it() -> None:
    assert str(Target(("8.6", "8.9"))) == "a GPU of compute capability 8.6 and a GPU of compute capability 8.9"
    assert str(Target((), "11.3")) == "TensorRT 11.3"
