from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ["repository", "configs", "onnx", "plan", "verify", "train", "prune", "quantise", "compress", "evaluate"]

#: Runs the command line in a process in which heavy libraries cannot be imported.
LIGHT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "onnx", "onnxruntime", "tensorrt", "lightning", "PIL"}:
            raise ModuleNotFoundError(f"{name} must not be imported here", name=name)
sys.meta_path.insert(0, Refuse())
from alexnet_build.cli import main
main()
"""


def run(*arguments: str, light: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT] if light else [sys.executable, "-m", "alexnet_build"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_without_torch(command: str) -> None:
    shown = run(command, "--help", light=True)
    assert shown.returncode == 0, shown.stderr
    assert f"Example: alexnet-build {command} " in " ".join(shown.stdout.split())


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    failed = run("repository", "--weights", "demo", "--engine", "onnxruntime", "--output", str(tmp_path), light=True)
    assert failed.returncode == 1
    assert "alexnet-build: this needs the Python package torch" in failed.stderr
    assert "-m pip install --editable '.[build]'" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_help_lists_every_command() -> None:
    shown = run("--help", light=True)
    assert all(f" {command} " in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["repository", "--engine", "abacus", "--output", "x"],
        ["repository", "--max-batch", "0", "--output", "x"],
        ["repository", "--accelerator", "abacus", "--output", "x"],
        ["repository", "--engine", "tensorrt", "--accelerator", "openvino", "--output", "x"],
        ["plan", "--onnx", "no-such-file.onnx", "--output", "x"],
        ["train", "--data", "x", "--output", "y", "--schedule", "sawtooth"],
        ["no-such-command"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    refused = run(*arguments)
    assert refused.returncode == 2
    assert refused.stdout == ""


def test_missing_weights_exit_with_1_and_say_what_was_expected(tmp_path: Path) -> None:
    failed = run("onnx", "--weights", "nothing.pth", "--output", str(tmp_path / "m.onnx"))
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "alexnet-build: there is no weights file nothing.pth; expected 'imagenet', 'demo' or a file" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_repository_in_fp16_for_a_cpu_is_refused(tmp_path: Path) -> None:
    failed = run(
        "repository", "--weights", "demo", "--engine", "onnxruntime", "--precision", "fp16", "--output",
        str(tmp_path / "models"),
    )  # fmt: skip
    assert failed.returncode == 1
    assert "there is no fp16 with --engine onnxruntime; expected --precision fp32 or int8" in failed.stderr
    assert list(tmp_path.iterdir()) == []


def test_repository_without_tensorrt_names_the_container_before_any_work(tmp_path: Path) -> None:
    failed = run("repository", "--weights", "demo", "--engine", "tensorrt", "--output", str(tmp_path / "models"))
    assert failed.returncode == 1
    assert "docker compose -f docker/compose.yaml run --rm builder" in failed.stderr


def test_configs_prints_where_it_wrote(tmp_path: Path) -> None:
    done = run("configs", "--output", str(tmp_path / "models"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'models'}\n")
    assert (tmp_path / "models/alexnet/labels.txt").read_text().splitlines()[281] == "tabby"
