"""Where preprocessing runs, as DEVICE says and as the machine allows."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

CARD = SimpleNamespace(name="Some GPU")


def unavailable(model: Callable[[str], ModuleType]) -> Callable[[], Any]:
    def open_gpu() -> None:
        raise model("cuda_device").DeviceError("no GPU: none at all; next: nvidia-smi")

    return open_gpu


def unexpected() -> None:
    raise AssertionError("the GPU was opened")


def test_cpu_does_not_look_for_a_gpu(model: Callable) -> None:
    choice = model("device_choice").choose_device("cpu", unexpected)

    assert (choice.gpu, choice.reason) == (None, "on the CPU")


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_gpu_is_taken_where_there_is_one(model: Callable, wanted: str) -> None:
    choice = model("device_choice").choose_device(wanted, lambda: CARD)

    assert (choice.gpu, choice.reason) == (CARD, "on the GPU, Some GPU")


def test_auto_takes_the_cpu_where_there_is_no_gpu_and_says_why(model: Callable) -> None:
    choice = model("device_choice").choose_device("auto", unavailable(model))

    assert choice.gpu is None
    assert choice.reason == "on the CPU, because no GPU: none at all; next: nvidia-smi"


def test_gpu_is_refused_where_there_is_none(model: Callable) -> None:
    with pytest.raises(model("cuda_device").DeviceError, match="DEVICE is 'gpu', but no GPU: none at all; next: nvidi"):
        model("device_choice").choose_device("gpu", unavailable(model))


def test_missing_package_is_named_with_the_command_that_installs_it(
    model: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without_cupy(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.split(".")[0] == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'")
        return real_import(name, *arguments, **keywords)

    module = model("cuda_device")
    monkeypatch.setattr(module.importlib, "import_module", without_cupy)

    with pytest.raises(module.DeviceError) as caught:
        module.CudaDevice(224)

    assert str(caught.value) == (
        "the package cupy-cuda13x cannot be imported (No module named 'cupy'); "
        "next: pip install --requirement docker/requirements-server.txt"
    )


class NoDriverError(Exception):
    """What CuPy raises without a driver."""


@pytest.mark.parametrize(
    ("count", "message"),
    [(0, "GPU 0 was asked for, and there are 0; next: nvidia-smi"), (None, "no GPU: no driver; next: nvidia-smi")],
)
def test_machine_without_a_gpu_is_told_from_one_without_a_driver(
    model: Callable, count: int | None, message: str
) -> None:
    def device_count() -> int:
        if count is None:
            raise NoDriverError("no driver")
        return count

    runtime = SimpleNamespace(getDeviceCount=device_count, CUDARuntimeError=NoDriverError)
    module = model("cuda_device")

    with pytest.raises(module.DeviceError, match=message):
        module.require_device(SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)), 0)
