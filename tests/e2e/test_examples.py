"""The examples for applications in other languages, each run as its first lines say, against a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"
PHOTOGRAPHS = ("build/alexnet_build/photographs/cat.jpg", "build/alexnet_build/photographs/coffee.jpg")
INSTALL_TIMEOUT_S = 300
RUN_TIMEOUT_S = 60

# An example with its options, in the order: address, how many labels, seconds.
Command = Callable[[Any, int, float], list[str]]


def missing(reason: str) -> None:
    """Skip where a user's machine has no such program; fail where every example has to run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def install(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        missing(f"{' '.join(command)} failed, perhaps for want of a network: {done.stderr[-2000:]}")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is installed into the working tree."""
    left_out = shutil.ignore_patterns("node_modules", "*_pb2*.py", "__pycache__")
    return shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("other") / "examples", ignore=left_out)


@pytest.fixture(scope="module")
def node(examples: Path) -> Command:
    for program in ("node", "npm"):
        if not shutil.which(program):
            missing(f"no {program}, which the example for Node needs: install Node 18.11 or newer")
    folder = examples / "node"
    install("npm", "ci", "--no-audit", "--no-fund", folder=folder)
    script = str(folder / "classify.js")
    return lambda server, top, deadline_s: [
        *("node", script, "--url", server.grpc_url, "--top", str(top), "--deadline", str(deadline_s))
    ]


@pytest.fixture(scope="module")
def python(examples: Path) -> Command:
    """An environment of its own, which has no tritonclient; the stubs are generated as the file says."""
    folder = examples / "python"
    venv.create(folder / ".venv", with_pip=True)
    interpreter = str(folder / ".venv" / "bin" / "python")
    install(interpreter, "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt", folder=folder)
    outputs = ("--python_out=.", "--grpc_python_out=.", "grpc_service.proto", "model_config.proto")
    protoc = (interpreter, "-m", "grpc_tools.protoc", "--descriptor_set_in=../triton.protoset", *outputs)
    assert " ".join(protoc[3:]) in (folder / "classify.py").read_text().replace(" \\\n       ", "")
    subprocess.run(protoc, cwd=folder, check=True, timeout=RUN_TIMEOUT_S)
    assert subprocess.run([interpreter, "-c", "import tritonclient"], capture_output=True).returncode == 1
    script = str(folder / "classify.py")
    return lambda server, top, deadline_s: [
        *(interpreter, script, "--url", server.grpc_url, "--top", str(top), "--deadline", str(deadline_s))
    ]


@pytest.fixture(scope="module")
def curl(examples: Path) -> Command:
    for program in ("curl", "jq"):
        if not shutil.which(program):
            missing(f"no {program}, which the example in shell needs: apt-get install {program}")
    script = str(examples / "curl" / "classify.sh")
    return lambda server, top, deadline_s: [script, "-u", server.http_url, "-k", str(top), "-t", str(deadline_s)]


@pytest.fixture(params=["node", "python", "curl"])
def example(request: pytest.FixtureRequest) -> Command:
    return request.getfixturevalue(request.param)


def run(command: list[str], *images: str | Path) -> subprocess.CompletedProcess[str]:
    root = EXAMPLES.parents[1]
    arguments = [*command, *map(str, images)]
    return subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)


def labels_and_scores(printed: str) -> list[tuple[str, str, float]]:
    """Path, label and score to three places; the others differ between processors."""
    lines = [line.split("\t") for line in printed.splitlines()]
    return [(path, label, round(float(score), 3)) for path, label, score in lines]


def test_example_prints_what_our_client_says(server: Any, example: Command) -> None:
    from alexnet_client import Classifier

    done = run(example(server, 3, 30), *PHOTOGRAPHS)
    with Classifier(server.grpc_url) as classifier:
        expected = [
            (path, prediction.label, round(prediction.score, 3))
            for path in PHOTOGRAPHS
            for prediction in classifier.classify(EXAMPLES.parents[1] / path, top_k=3)
        ]
    assert (done.returncode, done.stderr) == (0, "")
    assert labels_and_scores(done.stdout) == expected


def test_example_goes_on_after_a_bad_image_and_exits_with_1(server: Any, example: Command, tmp_path: Path) -> None:
    bad = tmp_path / "no photograph.jpg"
    bad.write_text("hello")
    done = run(example(server, 1, 30), tmp_path / "nowhere.jpg", bad, PHOTOGRAPHS[0])
    assert done.returncode == 1
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["cougar_face"]
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{tmp_path / 'nowhere.jpg'}: ")
    assert second.startswith(f"{bad}: in ensemble 'classifier', not an image in a known format")


def test_example_ends_at_its_deadline(server: Any, example: Command) -> None:
    done = run(example(server, 1, 0.001), PHOTOGRAPHS[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert any(words in done.stderr.lower() for words in ("deadline exceeded", "timed out"))


def test_example_without_an_image_is_wrong_usage(server: Any, example: Command) -> None:
    done = run(example(server, 1, 30))
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: " in done.stderr


def test_protoset_is_that_of_the_installed_tritonclient(tmp_path: Path) -> None:
    """It fails after an update of tritonclient; the first lines of protoset.py have the command that mends it."""
    written = tmp_path / "triton.protoset"
    subprocess.run([sys.executable, EXAMPLES / "protoset.py", written], check=True, timeout=RUN_TIMEOUT_S)
    assert written.read_bytes() == (EXAMPLES / "triton.protoset").read_bytes()


def test_shell_example_passes_shellcheck() -> None:
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([checker, EXAMPLES / "curl" / "classify.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
