"""The compose file and the pins: one tag, one GPU, nothing reachable or writable that need not be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
SERVICES = ["builder", "triton"]


def pins() -> dict[str, str]:
    lines = (DOCKER / ".env").read_text().splitlines()
    return dict(line.split("=") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_pins_are_a_tag_and_the_beginning_of_a_tensorrt_version() -> None:
    assert list(pins()) == ["TRITON_TAG", "TENSORRT_VERSION"]
    assert re.fullmatch(r"\d\d\.\d\d", pins()["TRITON_TAG"])
    assert re.fullmatch(r"\d+\.\d+", pins()["TENSORRT_VERSION"])


@pytest.mark.parametrize(
    ("service", "dockerfile", "image"),
    [
        ("builder", "docker/builder.Dockerfile", "alexnet-triton-builder"),
        ("triton", "docker/Dockerfile", "alexnet-triton-server"),
    ],
)
def test_service_is_built_with_the_pins(compose: dict[str, Any], service: str, dockerfile: str, image: str) -> None:
    build = compose["services"][service]["build"]

    assert (DOCKER / build["context"]).resolve() == ROOT
    assert build["dockerfile"] == dockerfile
    assert build["args"] == {name: f"${{{name}:?is set in docker/.env}}" for name in pins()}
    # A new tag is another image, so that Compose builds it without being told.
    assert compose["services"][service]["image"] == f"{image}:${{TRITON_TAG}}"


@pytest.mark.parametrize(
    ("dockerfile", "image"),
    [("Dockerfile", "nvcr.io/nvidia/tritonserver"), ("builder.Dockerfile", "nvcr.io/nvidia/tensorrt")],
)
def test_dockerfile_starts_from_the_pinned_tag(dockerfile: str, image: str) -> None:
    lines = (DOCKER / dockerfile).read_text().splitlines()

    assert [line for line in lines if line.startswith("FROM")] == [f"FROM {image}:${{TRITON_TAG}}-py3"]
    assert sorted({line for line in lines if line.startswith("ARG")}) == [f"ARG {name}" for name in sorted(pins())]


def test_no_other_file_names_a_tag() -> None:
    tag = re.compile(r"\b" + re.escape(pins()["TRITON_TAG"]) + r"\b|nvcr\.io/[\w/.-]+:\d")
    texts = [path for path in DOCKER.iterdir() if path.is_file() and path.name != ".env"]
    texts += [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]

    assert [str(path.relative_to(ROOT)) for path in texts if tag.search(path.read_text())] == []


def test_triton_waits_for_the_builder_to_succeed(compose: dict[str, Any]) -> None:
    assert compose["services"]["triton"]["depends_on"] == {"builder": {"condition": "service_completed_successfully"}}
    assert "restart" not in compose["services"]["builder"]


def test_ports_are_on_the_loopback_address_by_default(compose: dict[str, Any]) -> None:
    assert compose["services"]["triton"]["ports"] == [
        "${BIND_ADDRESS:-127.0.0.1}:${HTTP_PORT:-8000}:8000",
        "${BIND_ADDRESS:-127.0.0.1}:${GRPC_PORT:-8001}:8001",
        "${BIND_ADDRESS:-127.0.0.1}:${METRICS_PORT:-8002}:8002",
    ]
    assert "ports" not in compose["services"]["builder"]


@pytest.mark.parametrize("service", SERVICES)
def test_service_gets_one_gpu_and_no_privileges(compose: dict[str, Any], service: str) -> None:
    definition = compose["services"][service]

    assert definition["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["${GPU:-0}"], "capabilities": ["gpu"]}
    ]
    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]


def test_volumes_hold_models_and_weights_and_the_server_only_reads(compose: dict[str, Any]) -> None:
    assert sorted(compose["volumes"]) == ["models", "weights"]
    assert compose["services"]["builder"]["volumes"] == ["${MODELS:-models}:/models", "weights:/weights"]
    assert compose["services"]["triton"]["volumes"] == ["${MODELS:-models}:/models:ro"]


def test_triton_has_shared_memory_and_limits_as_nvidia_advises(compose: dict[str, Any]) -> None:
    assert compose["services"]["triton"]["shm_size"] == "1g"
    assert compose["services"]["triton"]["ulimits"] == {"memlock": -1, "stack": 67108864}


def test_variables_without_a_value_are_read_by_what_the_service_runs(compose: dict[str, Any]) -> None:
    dockerfile = (DOCKER / "builder.Dockerfile").read_text()
    entrypoint = (DOCKER / "entrypoint.sh").read_text()

    for name in compose["services"]["builder"]["environment"]:
        assert re.search(rf"^(ENV|   ) {name}=[\w\"]+", dockerfile, re.MULTILINE), f"{name} has no default"
    for name in compose["services"]["triton"]["environment"]:
        assert f"${{{name}:-" in entrypoint, f"{name} has no default"
