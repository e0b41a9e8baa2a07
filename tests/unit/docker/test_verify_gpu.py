"""docker/verify-gpu.sh with a recorder in the place of Docker: the steps, what is refused, the report.

The recorder writes down what it is asked for, runs the containers' Python programs here, and lets the rest succeed; so
what is tested is the script. The containers themselves are what the script is for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

DOCKER = """#!{python}
import json, os, pathlib, subprocess, sys

arguments = sys.argv[1:]
log = pathlib.Path({log!r})
log.write_text((log.read_text() if log.exists() else "") + json.dumps(arguments) + "\\n")
said = " ".join(arguments)
started = [call for call in log.read_text().splitlines() if "--detach" in call]
refuses = bool(started) and "other-gpu:" in started[-1]
if arguments[0] == "inspect":
    print("exited unhealthy" if refuses else "running healthy")
    sys.exit()
if arguments[0] == "logs":
    print("not started: compute capability 5.0")
    sys.exit()
if os.environ.get("FAILS") and os.environ["FAILS"] in said:
    sys.exit("it failed")
out = next((a.removesuffix(":/out") for a in arguments if a.endswith(":/out")), "")
inside = lambda text: text.replace("/out", out).replace("/opt/alexnet-triton", {root!r}) if out else text
if "repository" in arguments and "alexnet-build" in arguments:
    model = pathlib.Path(inside(arguments[arguments.index("--output") + 1]), "alexnet")
    number = max((int(f.name) for f in model.glob("*")), default=0) + 1
    (model / str(number)).mkdir(parents=True)
    parity = dict(top1_agreement=1.0, max_probability_difference=1e-3, mean_probability_difference=1e-4,
                  accuracy=None, reference_accuracy=None)
    (model / str(number) / "manifest.json").write_text(json.dumps(
        dict(engine_bytes=120_000_000, parity=parity, quantised=None, compute_capability="8.9")))
    if "--keep-other-gpus" in arguments:
        (model / str(number) / "model_sm50.plan").touch()
elif "python3" in arguments and ("-c" in arguments or "gpu_report" in said) and "tensorrt" not in said:
    sys.exit(subprocess.run([inside(a) for a in arguments[arguments.index("python3"):]]).returncode)
elif "other-gpu:" in said and "--detach" not in arguments:
    sys.exit("model alexnet: a plan for compute capability 5.0")
elif "other-tensorrt:" in said:
    sys.exit("model alexnet: a plan of TensorRT 10.0.0")
elif "version-compatible:" in said and "check" in arguments:
    sys.exit("expected --backend-config=tensorrt,version-compatible=true")
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment with a GPU of compute capability 8.9, and a recorder called docker."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = str(tmp_path / "docker.jsonl")
    (programs / "docker").write_text(DOCKER.format(python=sys.executable, log=log, root=str(ROOT)))
    (programs / "nvidia-smi").write_text('#!/bin/sh\ncase "$*" in *compute_cap*) echo 8.9 ;; *) echo "a GPU" ;; esac\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "LOG": log}


def run(machine: dict[str, str], output: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "docker" / "verify-gpu.sh"), "--output", str(output), *arguments]
    return subprocess.run(command, env=machine | more, capture_output=True, text=True, timeout=120)


def asked(machine: dict[str, str]) -> list[list[str]]:
    return [json.loads(line) for line in Path(machine["LOG"]).read_text().splitlines()]


def test_all_steps_pass_and_the_report_says_so(machine: dict[str, str], tmp_path: Path) -> None:
    done = run(machine, tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    report = (tmp_path / "out" / "report.md").read_text()
    assert "All steps passed." in report
    assert "| fp8 | 120.0 |" in report
    assert "| plan for another gpu is refused by check | passed |" in report


def test_every_precision_is_built_verified_inspected_and_served(machine: dict[str, str], tmp_path: Path) -> None:
    run(machine, tmp_path / "out")
    calls = [" ".join(call) for call in asked(machine)]
    for precision in ("fp32", "fp16", "bf16", "int8", "fp8"):
        assert any("alexnet-build repository" in call and f"--precision {precision}" in call for call in calls)
        assert any(f"verify --weights demo --precision {precision} --plan" in call for call in calls)
        assert any(f"inspect --plan /out/{precision}/" in call for call in calls)
        assert any(f"verify --weights demo --url localhost:8001 --precision {precision}" in call for call in calls)
    (tuned,) = [call for call in calls if "alexnet-build tune" in call]
    assert "--cuda-graphs" in tuned


def test_labelled_photographs_are_mounted_and_compared_on(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    run(machine, tmp_path / "out", "--data", str(tmp_path / "data"))
    built = next(" ".join(call) for call in asked(machine) if "repository" in call and "int8" in call)
    assert f"--volume {tmp_path / 'data'}:/data:ro" in built
    assert "--photographs /data --calibration /data" in built


def test_failed_step_is_shown_and_the_others_go_on(machine: dict[str, str], tmp_path: Path) -> None:
    done = run(machine, tmp_path / "out", FAILS="inspect --plan /out/int8")
    assert done.returncode == 1
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed.endswith("inspect int8")
    assert "    | it failed" in done.stdout
    report = (tmp_path / "out" / "report.md").read_text()
    assert "steps failed: inspect int8**" in report
    assert "| serve fp16 as tuned | passed |" in report


def test_plan_that_should_have_been_refused_is_a_failed_step(machine: dict[str, str], tmp_path: Path) -> None:
    recorder = Path(machine["PATH"].split(":")[0]) / "docker"
    recorder.write_text(recorder.read_text().replace('"other-tensorrt:" in said', "False"))
    done = run(machine, tmp_path / "out")
    assert done.returncode == 1
    assert "this should have been refused" in done.stdout


def test_folder_of_an_earlier_run_is_refused(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.md").touch()
    done = run(machine, tmp_path / "out")
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_machine_without_a_gpu_is_told_what_is_expected(machine: dict[str, str], tmp_path: Path) -> None:
    smi = Path(machine["PATH"].split(":")[0]) / "nvidia-smi"
    smi.write_text("#!/bin/sh\nexit 9\n")
    done = run(machine, tmp_path / "out")
    assert done.returncode == 1
    assert "no NVIDIA GPU 0 here" in done.stderr


def test_unknown_option_is_wrong_usage(machine: dict[str, str], tmp_path: Path) -> None:
    done = run(machine, tmp_path / "out", "--precision", "fp16")
    assert done.returncode == 2
    assert "--data DIR" in done.stderr
