"""Makes a small weights file out of a trained network; accuracy is measured before and after.

In: a ``TrainedNetwork``, its data folder, a ``Shrinking``. Out, in the output folder: ``weights.safetensors.xz``,
``recipe.json``, ``report.json``.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning

from alexnet_build.errors import DataError
from alexnet_build.training.data import PhotographData
from alexnet_build.training.evaluate import Accuracy, accuracy
from alexnet_build.training.fit import lightning_trainer, served_split
from alexnet_build.training.folders import DataFolder
from alexnet_build.training.images import square_photographs
from alexnet_build.training.recipe import Recipe
from alexnet_build.training.shrink import Shrinking, ShrinkSchedule, ShrinkTraining, shrunk_network
from alexnet_build.weights import TrainedNetwork, spec_metadata
from alexnet_build.weights_packed import packed_weights_to_file


@dataclass(frozen=True)
class CompressionReport:
    """What compression cost and gained.

    Attributes:
        file_bytes: Size of the packed file.
        weights: Number of weights, biases included.
        nonzero: How many of them are not zero.
        before: Accuracy of the parent by split, where there is one.
        after: Accuracy of the compressed network by split.
        seconds: Wall time of the epochs.
    """

    file_bytes: int
    weights: int
    nonzero: int
    before: dict[str, Accuracy]
    after: dict[str, Accuracy]
    seconds: float


def compress(
    parent: TrainedNetwork,
    folder: DataFolder,
    recipe: Recipe,
    how: Shrinking,
    output: Path,
    *,
    progress: bool = True,
) -> CompressionReport:
    """Prune, retrain, quantise and pack a network.

    Args:
        parent: The network to compress; it is left as it is.
        folder: The photographs that it was trained on.
        recipe: Epochs, batch size, learning rate of the retraining.
        how: How far to compress.
        output: A folder for the results; made if missing.
        progress: Show a progress bar.

    Raises:
        DataError: The folder's classes are not the network's.
    """
    if folder.train.labels != parent.spec.labels:
        raise DataError(
            f"the network has {parent.spec.classes} classes ({', '.join(parent.spec.labels[:3])}, ...), the data "
            f"{len(folder.train.labels)} ({', '.join(folder.train.labels[:3])}, ...): compress with the photographs "
            "that the network was trained on"
        )
    output.mkdir(parents=True, exist_ok=True)
    recipe.save(output)
    (output / "shrinking.json").write_text(json.dumps(asdict(how), indent=2) + "\n")
    lightning.seed_everything(recipe.seed, verbose=False)
    looked_at = {"val": served_split(folder.val, parent.spec), "test": served_split(folder.test, parent.spec)}
    before = {name: accuracy(parent, photographs) for name, photographs in looked_at.items() if photographs}
    print(f"decoding {len(folder.train)} photographs", file=sys.stderr)
    data = PhotographData(
        square_photographs(folder.train, recipe.source_side), looked_at["val"], parent.spec.classes,
        parent.spec.image_size, recipe,
    )  # fmt: skip
    module = ShrinkTraining(parent, recipe, how)
    trainer = lightning_trainer(recipe, output, [ShrinkSchedule(how)], checkpoint_every=0, progress=progress)
    started = time.perf_counter()
    trainer.fit(module, data)
    seconds = time.perf_counter() - started
    shrunk, scales = shrunk_network(module)
    tensors = {name: tensor.numpy() for name, tensor in shrunk.network.state_dict().items()}
    path = output / "weights.safetensors.xz"
    file_bytes = packed_weights_to_file(path, tensors, scales, spec_metadata(shrunk.spec))
    report = CompressionReport(
        file_bytes=file_bytes,
        weights=sum(tensor.size for tensor in tensors.values()),
        nonzero=sum(int((tensor != 0).sum()) for tensor in tensors.values()),
        before=before,
        after={name: accuracy(shrunk, photographs) for name, photographs in looked_at.items() if photographs},
        seconds=seconds,
    )
    (output / "report.json").write_text(json.dumps(report, default=vars, indent=2) + "\n")
    return report
