"""What the shell offers when the tab key is pressed, and how soon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What a command needs when it runs, and what completion would wait for.
HEAVY = ["grpc", "numpy", "rich", "tritonclient", "PIL", "av", "pyarrow", "watchfiles", "google.protobuf"]


def completed(shell: str, line: str) -> list[str]:
    """The words that the shell is offered; zsh's come in its own language."""
    return list(filter(None, run_completion(shell, line, "-m", "alexnet_client").stdout.splitlines()))


def run_completion(shell: str, line: str, *python: str) -> subprocess.CompletedProcess[str]:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    words |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = os.environ | words | {"_ALEXNET_CLIENT_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([sys.executable, *python], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stderr == ""
    return done


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_are_offered_in_every_shell(shell: str) -> None:
    offered = "\n".join(completed(shell, "alexnet-client la"))
    assert "labels" in offered
    assert "status" not in offered


def test_options_and_their_values_are_offered() -> None:
    assert completed("bash", "alexnet-client watch --form") == ["--format"]
    assert completed("bash", "alexnet-client watch --format ") == ["jsonl", "csv", "table"]


def test_profiles_are_offered_and_a_broken_file_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[profile.production]\n[profile.preview]\n[profile.test]\n")
    line = f"alexnet-client labels --config {path} --profile "
    assert completed("bash", line + "pr") == ["preview", "production"]
    path.write_text("[profile")
    assert completed("bash", line) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_installation_prints_a_script_for_the_shell(shell: str) -> None:
    command = [sys.executable, "-m", "alexnet_client", "--show-completion", shell]
    # otherwise typer asks which shell the tests were started from
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0
    assert f"_ALEXNET_CLIENT_COMPLETE=complete_{shell}" in done.stdout


def test_completion_imports_nothing_heavy() -> None:
    program = (
        "import sys, atexit; from alexnet_client.cli import main\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]))\n"
        "main()"
    )
    done = run_completion("bash", "alexnet-client wa", "-c", program)
    assert done.stdout.splitlines() == ["watch", "wait", "[]"]
