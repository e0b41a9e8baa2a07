from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from alexnet_build.weights import DEMO_WEIGHTS, load_weights
from alexnet_build.weights_packed import (
    pack_sparse,
    packed_weights_to_file,
    quantised,
    tensors_from_packed,
    unpack_sparse,
)


@pytest.mark.parametrize("density", [0.0, 0.001, 0.05, 1.0])
def test_pack_sparse_survives_the_way_back(density: float) -> None:
    generator = np.random.default_rng(0)
    levels = generator.integers(-127, 128, (40, 500)).astype(np.int8)
    levels[generator.random(levels.shape) >= density] = 0
    gaps, values = pack_sparse(levels)
    np.testing.assert_array_equal(unpack_sparse(gaps, values, (40, 500)), levels)


def test_pack_sparse_bridges_gaps_longer_than_255() -> None:
    levels = np.zeros(1000, np.int8)
    levels[[0, 255, 511, 999]] = [1, 2, 3, 4]  # distances 1, 255, 256, 488
    gaps, values = pack_sparse(levels)
    assert gaps.tolist() == [1, 255, 255, 1, 255, 233]
    assert values.tolist() == [1, 2, 0, 3, 0, 4]


def test_unpack_sparse_refuses_entries_beyond_the_shape() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        unpack_sparse(np.array([200], np.uint8), np.array([1], np.int8), (10, 10))


def test_packed_file_expands_to_the_quantised_weights(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(6, 8, 3, 3)).astype(np.float32)
    scales = np.abs(weights).reshape(6, -1).max(1) / 31
    tensors = {"conv.weight": weights, "conv.bias": np.arange(6, dtype=np.float32)}
    size = packed_weights_to_file(tmp_path / "w.xz", tensors, {"conv.weight": scales}, {"who": "me"})
    expanded, metadata = tensors_from_packed((tmp_path / "w.xz").read_bytes())
    assert size == (tmp_path / "w.xz").stat().st_size
    assert metadata == {"who": "me"}
    np.testing.assert_array_equal(expanded["conv.bias"], tensors["conv.bias"])
    steps = scales.astype(np.float32).reshape(6, 1, 1, 1)
    np.testing.assert_array_equal(expanded["conv.weight"], quantised(weights, scales) * steps)


def test_demo_weights_are_small_and_expand_to_101_labelled_classes() -> None:
    assert DEMO_WEIGHTS.stat().st_size <= 10_000_000
    demo = load_weights("demo")
    assert (demo.spec.architecture, demo.spec.classes) == ("paper2012", 101)
    assert demo.spec.labels[0] == "Faces"
    assert demo.spec.labels[-1] == "yin_yang"
    fc6 = demo.network.fc6.weight
    assert float((fc6 == 0).float().mean()) > 0.9
