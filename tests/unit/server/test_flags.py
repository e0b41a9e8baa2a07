"""What may follow `--` on the command line, and which models are then waited for."""

from __future__ import annotations

from pathlib import Path

import pytest
from alexnet_server.errors import PortError, ServerError
from alexnet_server.flags import (
    OWNED_FLAGS,
    VERSION_COMPATIBLE_FLAG,
    allows_version_compatible,
    expected_models,
    min_compute_capability,
    refuse_owned_flags,
)
from alexnet_server.ports import Ports, check_ports
from alexnet_server.repository import ModelFolder

MODELS = tuple(ModelFolder(Path(name), None) for name in ("alexnet", "classifier", "preprocess"))


@pytest.mark.parametrize("flag", OWNED_FLAGS)
def test_flag_that_contradicts_an_option_is_refused_with_the_option(flag: str) -> None:
    with pytest.raises(ServerError, match=f"{flag} is set by alexnet-server\n  next: use {OWNED_FLAGS[flag]}"):
        refuse_owned_flags([f"{flag}=1"])


def test_flag_without_dashes_is_refused() -> None:
    with pytest.raises(ServerError, match="'8000' is not a tritonserver flag"):
        refuse_owned_flags(["--log-verbose", "8000"])


def test_every_model_is_expected_without_flags() -> None:
    assert expected_models(MODELS, []) == ("alexnet", "classifier", "preprocess")


def test_named_models_are_expected_under_explicit_control() -> None:
    explicit = "--model-control-mode=explicit"

    assert expected_models(MODELS, [explicit]) == ()
    assert expected_models(MODELS, [explicit, "--load-model=alexnet"]) == ("alexnet",)
    assert expected_models(MODELS, [explicit, "--load-model=*"]) == ("alexnet", "classifier", "preprocess")


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ([], False),
        ([VERSION_COMPATIBLE_FLAG], True),
        (["--log-verbose=1", "--backend-config=tensorrt,version-compatible=ON"], True),
        (["--backend-config", "tensorrt,version-compatible=1"], True),
        (["--backend-config=tensorrt,version-compatible=false"], False),
        (["--backend-config=tensorrt,coalesce-request-input=true"], False),
        (["--backend-config=python,version-compatible=true"], False),
        (["tensorrt,version-compatible=true"], False),
    ],
)
def test_version_compatible_plans_are_allowed_by_what_triton_takes_for_true(flags: list[str], allowed: bool) -> None:
    assert allows_version_compatible(flags) is allowed


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (6, 0)),
        (["--min-supported-compute-capability=7.5"], (7, 5)),
        (["--min-supported-compute-capability", "8"], (8, 0)),
        (["--min-supported-compute-capability=much"], (6, 0)),
    ],
)
def test_least_compute_capability_is_what_the_flag_says(flags: list[str], expected: tuple[int, int]) -> None:
    assert min_compute_capability(flags) == expected


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_number_that_is_no_port_is_refused_by_name(port: int) -> None:
    with pytest.raises(PortError, match=f"--grpc-port {port} is not a port"):
        check_ports("127.0.0.1", Ports(http=19801, grpc=port, metrics=19802))


def test_same_port_twice_is_refused() -> None:
    with pytest.raises(PortError, match="three different ports"):
        check_ports("127.0.0.1", Ports(http=19801, grpc=19801, metrics=19802))
