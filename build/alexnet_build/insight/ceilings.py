"""What the machine could do at most: memory bandwidth and arithmetic, measured here or published by the vendor.

In: a torch device and the precisions in question. Out: ``Ceilings``. Measured ones count; published ones are shown as
a second line. Called by ``inspect_*``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PRECISIONS = ("FP32", "TF32", "FP16", "BF16", "INT8")


@dataclass(frozen=True)
class Ceilings:
    """The roof over every layer.

    Attributes:
        source: Who says so.
        bytes_per_s: Memory bandwidth, reading and writing counted.
        flops_per_s: Operations a second by precision, dense, a multiply-add counting as two.
    """

    source: str
    bytes_per_s: float
    flops_per_s: Mapping[str, float]

    def roof(self, intensity: float, precision: str) -> float | None:
        """The most operations a second at so many operations a byte; None for a precision that is not known here.

        Williams, Waterman, Patterson: Roofline, Communications of the ACM 52(4), 2009.
        """
        peak = self._peak(precision)
        return None if peak is None else min(peak, intensity * self.bytes_per_s)

    def bound(self, intensity: float, precision: str) -> str:
        """``memory`` left of the ridge, ``arithmetic`` right of it; empty for a precision that is not known here."""
        peak = self._peak(precision)
        if peak is None:
            return ""
        return "memory" if intensity * self.bytes_per_s < peak else "arithmetic"

    def _peak(self, precision: str) -> float | None:
        return self.flops_per_s.get("INT8" if precision == "UINT8" else precision)


def measured_ceilings(device: torch.device, threads: int) -> Ceilings:
    """Copy and multiply for a second or two, in every precision that torch has a fast product for on this device.

    Args:
        device: A CUDA device, or the CPU.
        threads: Of the CPU.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rates = {name: _product_flops_per_s(device, name) for name in _PRECISIONS}
        flops = {name: rate for name, rate in rates.items() if rate is not None}
        where = "" if device.type == "cuda" else f", {threads} thread{'s' * (threads > 1)}"
        return Ceilings(f"measured with torch {torch.__version__}{where}", _bandwidth(device), flops)
    finally:
        torch.set_num_threads(before)


def highest(one: Ceilings, other: Ceilings, precisions: Collection[str]) -> Ceilings:
    """The higher of two measurements: whatever disturbed one of them was no ceiling.

    Args:
        one: Measured before the engine was.
        other: The same, measured after.
        precisions: Those to keep.
    """
    flops = {name: max(rate, other.flops_per_s[name]) for name, rate in one.flops_per_s.items() if name in precisions}
    return Ceilings(one.source, max(one.bytes_per_s, other.bytes_per_s), flops)


def device_name(device: torch.device | None) -> str:
    """The GPU's or the processor's name."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def _bandwidth(device: torch.device) -> float:
    """Bytes a second of copying something that no cache holds; bytes read and bytes written are counted."""
    import torch

    elements = (256 if device.type == "cuda" else 64) << 20  # 1 GiB, 256 MiB of FP32
    if device.type == "cuda":
        elements = min(elements, torch.cuda.mem_get_info(device)[0] // 16)
    source = torch.rand(elements, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(device, lambda: target.copy_(source))


def _product_flops_per_s(device: torch.device, precision: str) -> float | None:
    """Operations a second of a large product of noise; None where torch has no fast one in this precision here."""
    import torch

    on_gpu = device.type == "cuda"
    side = 8192 if on_gpu else 2048
    if precision == "INT8":
        a, b = (torch.randint(-127, 128, (side, side), dtype=torch.int8, device=device) for _ in range(2))
        b = b.t()  # columns one after another, as the kernels of GPUs want them
        return 2 * side**3 / _best_seconds(device, lambda: torch._int_mm(a, b))
    half = {"FP16": torch.float16, "BF16": torch.bfloat16}
    has_tf32 = on_gpu and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision not in half and precision != "FP32" and not (precision == "TF32" and has_tf32):
        return None
    if precision in half and not on_gpu:
        return None
    a, b = (torch.randn(side, side, device=device).to(half.get(precision, torch.float32)) for _ in range(2))
    was = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
    try:
        return 2 * side**3 / _best_seconds(device, lambda: torch.mm(a, b))
    finally:
        torch.set_float32_matmul_precision(was)


def _best_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """The quickest of a few runs: a ceiling is what can be reached, and whatever disturbs makes it lower."""
    import torch

    on_gpu = device.type == "cuda"
    best = float("inf")
    for _ in range(12 if on_gpu else 5):
        if on_gpu:
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best
