"""Pruned and quantised weights in a small file: ``*.safetensors.xz``.

In and out: a state dict whose weights are mostly zero and lie on a grid of few levels per output channel. The
layout is that of Deep Compression (Han, Mao, Dally 2016, sections 2 and 3): the distance to the next weight that
is not zero, the weight's level, and a scale for each output channel; xz then does the entropy coding.

For each weight ``name`` of two or more dimensions the file holds
``name.gaps`` uint8, ``name.levels`` int8 and ``name.scales`` float32 (rows,); other tensors are stored as they are.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np

_LONGEST_GAP = 255


def pack_sparse(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode a mostly zero array as gaps and values.

    Args:
        levels: int8 array of any shape.

    Returns:
        ``gaps`` uint8 and ``values`` int8 of equal length. A gap is the distance to the entry before; where that is
        longer than 255, entries with the value 0 bridge it.
    """
    flat = levels.ravel()
    positions = np.flatnonzero(flat)
    distances = np.diff(positions, prepend=-1)  # each at least 1
    bridges = (distances - 1) // _LONGEST_GAP
    ends = np.cumsum(bridges + 1) - 1  # where each value stands among the entries
    count = int(ends[-1]) + 1 if len(ends) else 0
    gaps = np.full(count, _LONGEST_GAP, np.uint8)
    values = np.zeros(count, np.int8)
    gaps[ends] = distances - bridges * _LONGEST_GAP
    values[ends] = flat[positions]
    return gaps, values


def unpack_sparse(gaps: np.ndarray, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The int8 array of the given shape that ``pack_sparse`` encoded.

    Raises:
        ValueError: The entries do not fit into the shape.
    """
    flat = np.zeros(int(np.prod(shape)), np.int8)
    positions = np.cumsum(gaps.astype(np.int64)) - 1
    if len(gaps) != len(values) or (len(positions) and not 0 <= positions[0] <= positions[-1] < len(flat)):
        raise ValueError(f"packed entries do not fit into an array of shape {shape}")
    flat[positions] = values
    return flat.reshape(shape)


def quantised(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The int8 level nearest to each weight; row i has steps of ``scales[i]``."""
    steps = scales.reshape(-1, *[1] * (weights.ndim - 1))
    return np.clip(np.rint(weights / steps), -127, 127).astype(np.int8)


def packed_weights_to_file(
    path: Path, tensors: dict[str, np.ndarray], scales: dict[str, np.ndarray], metadata: dict[str, str]
) -> int:
    """Write a packed weights file.

    Args:
        path: The file, ``*.safetensors.xz``.
        tensors: Float arrays by name.
        scales: Step of each output channel, (rows,), for the names to be packed.
        metadata: Strings stored beside the tensors.

    Returns:
        The size of the file in bytes.
    """
    from safetensors.numpy import save

    shapes = {name: list(tensors[name].shape) for name in scales}
    stored: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if name in scales:
            stored[f"{name}.gaps"], stored[f"{name}.levels"] = pack_sparse(quantised(tensor, scales[name]))
            stored[f"{name}.scales"] = scales[name].astype(np.float32)
        else:
            stored[name] = np.ascontiguousarray(tensor, np.float32)
    content = save(stored, {**metadata, "packed_shapes": json.dumps(shapes)})
    compressed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    path.write_bytes(compressed)
    return len(compressed)


def tensors_from_packed(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Expand a packed weights file.

    Args:
        content: The bytes of a ``*.safetensors.xz`` file.

    Returns:
        Float32 arrays by name, and the metadata.

    Raises:
        ValueError: The content is damaged.
    """
    from safetensors.numpy import load

    try:
        plain = lzma.decompress(content)
    except lzma.LZMAError as error:
        raise ValueError(f"not an xz file, or a damaged one: {error}") from error
    metadata = safetensors_metadata(plain)
    shapes: dict[str, list[int]] = json.loads(metadata.pop("packed_shapes", "{}"))
    tensors = load(plain)
    for name, shape in shapes.items():
        levels = unpack_sparse(tensors.pop(f"{name}.gaps"), tensors.pop(f"{name}.levels"), tuple(shape))
        steps = tensors.pop(f"{name}.scales").reshape(-1, *[1] * (len(shape) - 1))
        tensors[name] = levels.astype(np.float32) * steps
    return tensors, metadata


def safetensors_metadata(content: bytes) -> dict[str, str]:
    """The ``__metadata__`` of a safetensors file: 8 bytes of header length, then the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return dict(header.get("__metadata__", {}))
