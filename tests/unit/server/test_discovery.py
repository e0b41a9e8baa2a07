"""The first tritonserver there is, in the order that is promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from alexnet_server import discovery
from alexnet_server.discovery import find_tritonserver
from alexnet_server.errors import TritonNotFoundError


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without tritonserver, and a folder to put some in."""
    monkeypatch.delenv(discovery.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(discovery, "CONTAINER_EXECUTABLE", tmp_path / "container" / "bin" / "tritonserver")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    return tmp_path


def install(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_error_names_every_place_and_the_extra_when_there_is_none(nowhere: Path) -> None:
    with pytest.raises(TritonNotFoundError) as caught:
        find_tritonserver()

    for place in (discovery.ENVIRONMENT_VARIABLE, "PATH", "nvidia-pytriton", ".[embedded]"):
        assert place in str(caught.value)


def test_path_comes_before_the_container_and_the_variable_before_both(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = install(nowhere / "container" / "bin" / "tritonserver")
    assert find_tritonserver().executable == container
    on_path = install(nowhere / "path" / "tritonserver")
    assert find_tritonserver().executable == on_path
    named = install(nowhere / "named")
    monkeypatch.setenv(discovery.ENVIRONMENT_VARIABLE, str(named))
    assert find_tritonserver().executable == named
    option = install(nowhere / "option")
    assert find_tritonserver(option).executable == option


def test_named_file_is_not_replaced_by_another_when_it_is_missing(nowhere: Path) -> None:
    install(nowhere / "path" / "tritonserver")

    with pytest.raises(TritonNotFoundError, match=r"--tritonserver names .*gone"):
        find_tritonserver(nowhere / "gone")


def test_server_with_a_stub_for_every_python_is_the_embedded_one(nowhere: Path) -> None:
    executable = install(nowhere / "wheel" / "bin" / "tritonserver")
    assert not find_tritonserver(executable).embedded

    (nowhere / "wheel" / "python_backend_stubs").mkdir()

    assert find_tritonserver(executable).embedded
