"""The shared memory through which Triton and its Python processes pass tensors: where it is, how much is left."""

from __future__ import annotations

import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


def free_bytes() -> int:
    """Return how much room is left; 0 where there is none."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize
