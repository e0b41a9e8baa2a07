"""Where preprocessing runs, as DEVICE says and as the machine allows."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

CARD = SimpleNamespace(name="Some GPU", jpeg_engines=7)


def unavailable(model: Callable[[str], ModuleType]) -> Callable[[], Any]:
    def open_gpu() -> None:
        raise model("cuda_device").DeviceError("no GPU: none at all; next: nvidia-smi")

    return open_gpu


def unexpected() -> None:
    raise AssertionError("the GPU was opened")


def test_cpu_does_not_look_for_a_gpu(model: Callable) -> None:
    choice = model("device_choice").choose_device("cpu", unexpected)

    assert (choice.gpus, choice.reason) == ((), "on the CPU")


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_gpu_is_taken_where_there_is_one(model: Callable, wanted: str) -> None:
    choice = model("device_choice").choose_device(wanted, lambda: CARD)

    assert (choice.gpus, choice.reason) == ([CARD], "on the GPU, Some GPU, 7 JPEG engines")


def test_gpu_is_opened_once_for_each_batch_that_is_under_way(model: Callable) -> None:
    choice = model("device_choice").choose_device(
        "gpu", lambda: SimpleNamespace(name="Some GPU", jpeg_engines=7), count=3
    )

    assert len({id(gpu) for gpu in choice.gpus}) == 3


def test_gpu_that_opens_once_but_not_twice_is_left_alone(model: Callable) -> None:
    opened: list[Any] = []

    def open_gpu() -> Any:
        if opened:
            raise model("cuda_device").DeviceError("out of memory")
        opened.append(CARD)
        return CARD

    choice = model("device_choice").choose_device("auto", open_gpu, count=2)

    assert (choice.gpus, choice.reason) == ((), "on the CPU, because out of memory")


def test_gpu_without_jpeg_engines_is_taken_only_where_it_is_asked_for(model: Callable) -> None:
    card = SimpleNamespace(name="Old GPU", jpeg_engines=0)
    auto, gpu = (model("device_choice").choose_device(wanted, lambda: card) for wanted in ("auto", "gpu"))

    assert (auto.gpus, gpu.gpus) == ((), [card])
    assert auto.reason == "on the CPU, because Old GPU has no JPEG engines, and its CUDA cores are slower"
    assert gpu.reason == "on the GPU, Old GPU, no JPEG engines"


def test_auto_takes_the_cpu_where_there_is_no_gpu_and_says_why(model: Callable) -> None:
    choice = model("device_choice").choose_device("auto", unavailable(model))

    assert not choice.gpus
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


def test_missing_nvjpeg_is_named_with_the_command_that_installs_it(
    model: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = model("cuda_device")
    monkeypatch.setattr(model("nvjpeg"), "LIBRARY", "libnvjpeg.so.none")

    with pytest.raises(module.DeviceError) as caught:
        module.open_decoder(engines=True)

    assert str(caught.value).startswith("nvJPEG cannot be used (libnvjpeg.so.none: cannot open shared object file")
    assert str(caught.value).endswith("next: pip install --requirement docker/requirements-server.txt")


def test_status_of_nvjpeg_becomes_an_error_that_names_the_function(model: Callable) -> None:
    module = model("nvjpeg")
    module.check("nvjpegCreateEx", 0)

    with pytest.raises(module.NvJpegError, match=r"nvjpegCreateEx answered status 7 \(nvjpegStatus_t in nvjpeg.h\)"):
        module.check("nvjpegCreateEx", 7)


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
