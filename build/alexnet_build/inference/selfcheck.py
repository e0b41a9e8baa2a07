"""Proof, before a slot answers anybody, that every graph gives the answers that the engine gives without it.

A CUDA graph repeats addresses, not intentions: one that was recorded on the wrong stream or device, or whose engine
moved its buffers afterwards, replays without an error and leaves the last answer, or another input's answer, in place.
In: a new ``Slot``. Out: nothing, or an ``EngineError``. Called by ``DeviceSession`` for each slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alexnet_build.errors import EngineError
from alexnet_build.inference.slots import Slot

#: How far a graph's answer may be from the engine's, as a share of the distance between the answers to two inputs.
#: The same kernels run, so it is 0 or rounding; another input's answer is at 1.
_TOLERANCE = 0.1


def check_slot(slot: Slot, captured: Sequence[int]) -> None:
    """Run a slot for the first time, record its graphs, and compare them with two inputs in turn.

    The first runs, without graphs, are also the warm-up that libraries need before they can be recorded.

    Args:
        slot: A new one.
        captured: Batch sizes to record.

    Raises:
        EngineError: An answer has rows that were not written, or a graph's answer is not the engine's.
    """
    engine = slot.engine
    shape = (engine.max_batch, engine.image_size, engine.image_size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    inputs = (np.zeros(shape, np.uint8), noise)
    for batch in dict.fromkeys((engine.min_batch, engine.max_batch, *captured)):
        expected = [_answered(slot, pixels[:batch], graphed=False) for pixels in inputs]
        if batch not in captured:
            continue
        slot.capture(batch)
        distance = float(np.abs(expected[0] - expected[1]).max())
        for turn in (0, 1, 0, 1):
            error = float(np.abs(_answered(slot, inputs[turn][:batch], graphed=True) - expected[turn]).max())
            if error > _TOLERANCE * distance:
                raise EngineError(
                    f"the CUDA graph of {engine.source} for a batch of {batch} answers other than the engine does: "
                    f"probabilities differ by {error:.1e}, and those of two inputs by {distance:.1e}; "
                    "open it without graphs: graph_batch_sizes=()"
                )


def _answered(slot: Slot, pixels: np.ndarray, *, graphed: bool) -> np.ndarray:
    slot.poison()
    slot.fill(pixels)
    slot.launch(len(pixels), graphed=graphed)
    slot.wait(None)
    answer = slot.answer(len(pixels))
    if not np.isfinite(answer).all():
        rows = np.flatnonzero(~np.isfinite(answer).all(axis=1))
        raise EngineError(
            f"{slot.engine.source} left {len(rows)} of {len(pixels)} rows of its answer unwritten or not numbers"
            f"{', from a CUDA graph' if graphed else ''}; the first of them is row {rows[0]}"
        )
    return answer
