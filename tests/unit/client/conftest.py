"""A server and a clock in plain Python, in the place that a classifier keeps for gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alexnet_client import _calls as calls

METADATA = calls.ModelMetadata(
    name="classifier",
    platform="ensemble",
    versions=("3",),
    inputs=(calls.TensorMetadata("IMAGE", "BYTES", (-1, 1)),),
    outputs=(calls.TensorMetadata("PROBABILITIES", "FP32", (-1, 3)),),
)
ELEMENTS = [b"0.700000:2:crane: bird", b"0.200000:0:tench", b"0.100000:1"]


class FakeTransport:
    """Answers every call; `on[CallType]` is a function of the call and may be replaced."""

    def __init__(self) -> None:
        self.on: dict[type, Callable[[Any], Any]] = {
            calls.Infer: lambda call: ELEMENTS[: call.class_count],
            calls.ReadMetadata: lambda call: METADATA,
            calls.ReadComposingModels: lambda call: ("preprocess", "alexnet"),
            calls.ReadStatistics: lambda call: (calls.ModelStatistics(call.model, "3", 0, 0, 0, 0.0, 0.0, 0.0),),
            calls.ReadServer: lambda call: ("triton", "2.69.0"),
            calls.IsServerLive: lambda call: True,
            calls.IsServerReady: lambda call: True,
            calls.IsModelReady: lambda call: True,
        }
        self.sent: list[Any] = []
        self.timeouts_s: list[float] = []
        self.pauses_s: list[float] = []
        self.clock_s = 100.0
        self.seconds_a_call = 0.0
        self.closed = False

    def now_s(self) -> float:
        return self.clock_s

    def send(self, call: Any, timeout_s: float) -> Any:
        self.sent.append(call)
        self.timeouts_s.append(timeout_s)
        self.clock_s += self.seconds_a_call
        return self.on[type(call)](call)

    def pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.clock_s += seconds

    def close(self) -> None:
        self.closed = True

    def fail(self, kind: type, *errors: Exception) -> None:
        """Let calls of `kind` raise `errors`, one after the other, and then succeed."""
        left, succeed = list(errors), self.on[kind]

        def answer(call: Any) -> Any:
            if left:
                raise left.pop(0)
            return succeed(call)

        self.on[kind] = answer


class AsyncFakeTransport(FakeTransport):
    async def send(self, call: Any, timeout_s: float) -> Any:  # type: ignore[override]
        return super().send(call, timeout_s)

    async def pause(self, seconds: float) -> None:  # type: ignore[override]
        super().pause(seconds)

    async def close(self) -> None:  # type: ignore[override]
        super().close()


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def async_transport() -> AsyncFakeTransport:
    return AsyncFakeTransport()
