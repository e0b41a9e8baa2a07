"""The decoder's memory between batches: what a damaged file leaves unwritten is nobody's picture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

OLD_PICTURE = 77


class Memory:
    """A CuPy array of bytes as far as the device uses it, in ordinary memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.size = values, values.size
        self.data = SimpleNamespace(ptr=0, memset_async=self.fill)

    def fill(self, value: int, count_bytes: int, stream: Any) -> None:
        self.values[:count_bytes] = value

    def __getitem__(self, part: slice) -> Memory:
        return Memory(self.values[part])


class Decoder:
    """Finds images of so many pixels in a row; writes nothing, as for a damaged file, or a picture, or fails."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.memory: Callable[[], Memory] | None = None
        self.paint = self.fail = False

    def size(self, jpeg: bytes) -> tuple[int, int]:
        return len(jpeg), 1

    def decode(self, jpegs: list[bytes], addresses: np.ndarray, pitches_bytes: np.ndarray, stream: int) -> None:
        assert self.memory is not None
        values = self.memory().values[: int(addresses[-1] + pitches_bytes[-1])]
        self.seen.append(values.copy())
        if self.paint:
            values[:] = OLD_PICTURE
        if self.fail:
            raise RuntimeError("nvjpegDecodeBatched answered status 6")


@pytest.fixture
def device(model: Callable) -> Any:
    """A CudaDevice whose CUDA is played by NumPy; new memory holds what somebody left there."""
    device = object.__new__(model("cuda_device").CudaDevice)
    device._stream = StreamOfNothing()
    device._device = nullcontext()
    device._cupy = SimpleNamespace(empty=lambda count, dtype: Memory(np.full(count, OLD_PICTURE, dtype)))
    device._kernel = lambda *arguments, **options: None
    device._crop_size, device._decoded, device._written_bytes = 8, None, 0
    device._decoder = Decoder()
    device._decoder.memory = lambda: device._decoded
    return device


class StreamOfNothing(nullcontext):
    """A stream on which everything is done at once."""

    ptr = 0

    def synchronize(self) -> None:
        pass


def crop(device: Any) -> None:
    device._cupy.empty, empty = (
        lambda count, dtype: SimpleNamespace(set=lambda values, stream: None),
        device._cupy.empty,
    )
    device.crop_resize(np.zeros(1, np.uint8), None, 1)
    device._cupy.empty = empty


@pytest.mark.parametrize("following", [10, 1000, 5000])
@pytest.mark.parametrize("cropped", [True, False])
def test_decoder_finds_black_memory_whatever_was_there(device: Any, cropped: bool, following: int) -> None:
    device._decoder.paint = True

    device.decode([bytes(1000)])
    if cropped:
        crop(device)
    device.decode([bytes(following)])

    assert [memory.max() for memory in device._decoder.seen] == [0, 0]


def test_decoder_finds_black_memory_after_it_failed(device: Any) -> None:
    device._decoder.paint = device._decoder.fail = True

    for count in (1000, 10, 1000):
        with pytest.raises(RuntimeError, match="status 6"):
            device.decode([bytes(count)])

    assert [memory.max() for memory in device._decoder.seen] == [0, 0, 0]
