"""Reads ``.pth``, ``.pt`` and Lightning's ``.ckpt`` files without running what they contain."""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from alexnet_build.errors import UntrustedWeightsError, WeightsError
from alexnet_build.network import NetworkSpec
from alexnet_build.weights_layouts import named_tensors

#: Keys under which training programs put the tensors.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "weight")


def tensors_from_torch_file(path: Path, trust: bool) -> tuple[dict[str, Tensor], NetworkSpec | None]:
    """Load a file that ``torch.save`` wrote.

    Args:
        path: The file: a state dict, a dict with one under ``state_dict`` or ``model``, or, trusted, a module.
        trust: Unpickle arbitrary objects.

    Raises:
        UntrustedWeightsError: The file holds more than tensors and plain containers.
        WeightsError: The file is damaged or holds no tensors.
    """
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=not trust)
    except UnpicklingError as error:
        raise UntrustedWeightsError(
            f"{path} holds more than tensors, and loading it would run code from the file; expected a state dict. "
            f"If you made this file yourself, add --trust. ({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or not a torch file: {error}") from error
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    spec = None
    if isinstance(loaded, dict) and "alexnet_spec" in loaded:
        spec = NetworkSpec.from_dict(json.loads(loaded["alexnet_spec"]))
    while isinstance(loaded, dict) and (key := next((k for k in _STATE_KEYS if isinstance(loaded.get(k), dict)), None)):
        loaded = loaded[key]
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, dict) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; expected a state dict from parameter name to tensor")
    return named_tensors(tensors), spec
