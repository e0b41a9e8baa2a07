"""From a folder of labelled photographs to weights.

::

    folders (what is where) -> images (uint8 tensors) -> data, augment (batches, varied on the device) ─┐
    recipe (every number) -> transfer (the network to start with) -> classifier (loss, learning rates) ─┴-> fit

``trainer`` is Lightning's trainer with checkpoints that are whole or not there; ``progress`` and ``pictures`` show how
a run goes.
"""
