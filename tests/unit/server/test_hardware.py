"""Which GPUs and which TensorRT are found, with an nvidia-smi and library names that the test puts in their places."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from alexnet_server import hardware
from alexnet_server.discovery import TritonServer
from alexnet_server.hardware import Gpus, find_gpus, find_tensorrt

Machine = Callable[..., TritonServer]


def gpus(**variables: str) -> Gpus:
    return find_gpus({"PATH": os.environ["PATH"], **variables})


def indices_and_capabilities(found: Gpus) -> list[tuple[int, str]]:
    assert found.devices is not None
    return [(gpu.index, gpu.compute_capability) for gpu in found.devices]


def test_every_gpu_is_found_without_a_choice(machine: Machine) -> None:
    machine("8.6", "8.6")

    found = gpus()

    assert indices_and_capabilities(found) == [(0, "8.6"), (1, "8.6")]
    assert [gpu.name for gpu in found.devices or ()] == ["NVIDIA Test 8.6", "NVIDIA Test 8.6"]
    assert (found.exact, found.ordered) == (True, True)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1,0", [(0, "9.0"), (1, "8.6")]),
        ("1", [(0, "9.0")]),
        ("GPU-1", [(0, "9.0")]),
        ("1,7,0", [(0, "9.0")]),
        ("", []),
        ("-1", []),
    ],
)
def test_visible_devices_choose_and_number_gpus(
    machine: Machine, visible: str, expected: list[tuple[int, str]]
) -> None:
    machine("8.6", "9.0")

    found = gpus(CUDA_VISIBLE_DEVICES=visible, CUDA_DEVICE_ORDER="PCI_BUS_ID")

    assert indices_and_capabilities(found) == expected
    assert (found.exact, found.ordered) == (True, True)
    assert found.reason == f"CUDA_VISIBLE_DEVICES is {visible!r}"


def test_choice_by_number_among_different_gpus_is_not_exact_without_the_order_of_the_bus(machine: Machine) -> None:
    machine("8.6", "9.0")

    found = gpus(CUDA_VISIBLE_DEVICES="1")

    assert indices_and_capabilities(found) == [(0, "8.6"), (1, "9.0")]
    assert (found.exact, found.ordered) == (False, False)


def test_slices_of_gpus_have_the_capability_of_all(machine: Machine) -> None:
    machine("9.0", "9.0")

    found = gpus(CUDA_VISIBLE_DEVICES="MIG-7d5bb3f6-c8e1-5d6c-a9a1-0f6f7d2a9c3e")

    assert indices_and_capabilities(found) == [(0, "9.0"), (1, "9.0")]
    assert (found.exact, found.ordered) == (True, False)


@pytest.mark.parametrize(
    ("says", "devices", "reason"),
    [
        ("echo NVIDIA-SMI has failed; exit 9", (), "nvidia-smi: NVIDIA-SMI has failed"),
        ("exit 9", (), "nvidia-smi: exit code 9"),
        ("true", (), "nvidia-smi lists none"),
        (
            "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2",
            None,
            'nvidia-smi: Field "compute_cap" is not a valid field to query.',
        ),
        ("echo '0, GPU-1, Tesla, [N/A]'", None, "nvidia-smi says '0, GPU-1, Tesla, [N/A]'"),
        ("echo four oh four", None, "nvidia-smi says 'four oh four'"),
    ],
)
def test_answer_of_nvidia_smi_is_kept_as_the_reason(
    machine: Machine, says: str, devices: tuple | None, reason: str
) -> None:
    machine(says=says)

    assert gpus() == Gpus(devices, reason)


def test_nvidia_smi_that_does_not_answer_leaves_gpus_unknown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(says="exec cat /dev/zero")
    monkeypatch.setattr(hardware, "NVIDIA_SMI_TIMEOUT_S", 0.1)

    found = gpus()

    assert found.devices is None
    assert found.reason.startswith("nvidia-smi does not answer: ")


@pytest.mark.parametrize(("device", "devices"), [(None, ()), ("nvidia0", None), ("dxg", None), ("nvmap", None)])
def test_device_file_without_nvidia_smi_leaves_gpus_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str | None, devices: tuple | None
) -> None:
    (tmp_path / "nvidiactl").touch()
    if device:
        (tmp_path / device).touch()
    monkeypatch.setattr(hardware, "_DEVICES", tmp_path)

    assert find_gpus({"PATH": str(tmp_path)}) == Gpus(devices, "nvidia-smi is not on PATH")


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader's cache that has no TensorRT, whatever is installed."""
    monkeypatch.setattr(hardware, "_cached_library_folders", lambda: iter(()))


def test_tensorrt_is_the_library_beside_the_backend(machine: Machine) -> None:
    assert find_tensorrt(machine(tensorrt="11.3.0"), {}) == "11.3.0"


def test_library_path_comes_before_what_lies_beside_the_backend(machine: Machine, tmp_path: Path) -> None:
    server = machine(tensorrt="11.3.0")
    for folder, version in (("other", "10.16.1"), ("newer", "11.4.1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"libnvinfer.so.{version}").touch()
        (tmp_path / folder / f"libnvinfer.so.{version[:2]}").symlink_to(f"libnvinfer.so.{version}")

    # The backend is linked to libnvinfer.so.11, so the loader passes the folder by that has another.
    path = f"{tmp_path / 'other'}::{tmp_path / 'newer'}"

    assert find_tensorrt(server, {"LD_LIBRARY_PATH": path}) == "11.4.1"


def test_library_in_the_loaders_cache_is_found(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libnvinfer.so.11.2.1").touch()
    (tmp_path / "libnvinfer.so.11").symlink_to("libnvinfer.so.11.2.1")
    ldconfig = tmp_path / "ldconfig"
    ldconfig.write_text(f"#!/bin/sh\nprintf '\\tlibnvinfer.so.11 (libc6,x86-64) => {tmp_path}/libnvinfer.so.11\\n'\n")
    ldconfig.chmod(0o755)
    monkeypatch.setattr(hardware, "_LDCONFIG_PATH", str(tmp_path))

    assert find_tensorrt(machine(tensorrt=None), {}) == "11.2.1"


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize(
    ("variables", "version"),
    [({"TRT_VERSION": "11.3.0.99"}, "11.3.0.99"), ({"TRT_VERSION": "11.3.0.99+cuda13.1"}, "11.3.0.99"), ({}, None)],
)
def test_variable_of_the_container_is_taken_where_no_library_is_found(
    machine: Machine, variables: dict[str, str], version: str | None
) -> None:
    assert find_tensorrt(machine(tensorrt=None), variables) == version


def test_library_whose_name_has_no_version_leaves_the_variable(machine: Machine) -> None:
    server = machine(tensorrt=None)
    (server.root / "backends" / "tensorrt" / "libnvinfer.so.11").touch()

    assert find_tensorrt(server, {"TRT_VERSION": "11.3.0.99"}) == "11.3.0.99"


def test_server_without_the_backend_has_no_tensorrt(machine: Machine) -> None:
    server = machine()
    (server.root / "backends" / "tensorrt").rename(server.root / "backends" / "other")

    assert find_tensorrt(server, {"TRT_VERSION": "11.3.0.99"}) is None
