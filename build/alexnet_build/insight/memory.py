"""Memory of this process and of the GPU, in bytes.

In: nothing. Out: what the kernel, or CUDA, says at this moment. Called by ``inspect_*`` before and after loading.
"""

from __future__ import annotations

from pathlib import Path


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))  # in kB


def used_gpu_bytes() -> int:
    """Memory of torch's current GPU that is taken, by whomever."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free
