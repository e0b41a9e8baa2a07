"""Trains a network on with the rounding of INT8 in its layers, and measures the INT8 engine that comes of it.

In: a ``Retraining``. Out: ``weights.safetensors`` in FP32, without anything left of the rounding, ``model.onnx``, the
INT8 graph that was measured, and a ``QuantisationReport``.

While it trains, ModelOpt's fake quantisers round weights and activations as ``int8_for_cpu`` will, with gradients
that pass straight through (Bengio et al. 2013; Jacob et al. 2018, section 3). INT8 accuracy is ONNX Runtime's, on the
CPU.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from lightning.pytorch import callbacks
from torch import Tensor, nn

from alexnet_build.compression.prune import weighted_layers
from alexnet_build.compression.retrain import Retraining, Stages, quiet_modelopt
from alexnet_build.network import NetworkSpec
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.precision.calibration import calibration_pixels
from alexnet_build.precision.int8_for_cpu import int8_for_cpu
from alexnet_build.training.classifier import normalised
from alexnet_build.training.evaluate import Accuracy, accuracy_from_probabilities
from alexnet_build.training.images import ServedPhotographs
from alexnet_build.training.transfer import head_of
from alexnet_build.verify import onnxruntime_infer
from alexnet_build.weights import TrainedNetwork, save_weights

#: What ``int8_for_cpu`` gives weights (its ``reduce_range``) and activations.
WEIGHT_BITS, ACTIVATION_BITS = 7, 8
_BATCH = 32


@dataclass(frozen=True)
class QuantisationReport:
    """What INT8 costs, before and after training for it.

    Attributes:
        onnx_bytes: Size of the INT8 graph.
        weight_bits: Of a weight, signed, with a step for each output channel.
        activation_bits: Of an activation, with a step for each tensor.
        accuracy: ``fp32 before`` and ``int8 before``: the parent, and the parent quantised without training;
            ``fp32 after`` and ``int8 after``: the same of the trained weights.
        seconds: Wall time of the training.
    """

    onnx_bytes: int
    weight_bits: int
    activation_bits: int
    accuracy: Stages
    seconds: float


class FollowWeights(callbacks.Callback):
    """Fits the steps of weights to the weights of the epoch, as the engine will to the last ones."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Set each output channel's range to its largest weight."""
        for layer in weighted_layers(pl_module.network).values():  # type: ignore[arg-type]
            weight, quantiser = layer.weight.detach(), cast(Any, layer.weight_quantizer)
            quantiser.amax = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True)


def quantise(work: Retraining) -> QuantisationReport:
    """Quantise; train for it, unless the recipe has no epochs, and quantise again; save.

    Args:
        work: The network, its photographs and how it is trained on.

    Raises:
        EngineError: The INT8 graph could not be made.
        TrainingError: The training could not go on.
    """
    spec, parent = work.parent.spec, work.parent.network
    pixels = calibration_pixels(work.folder.train.paths, spec)  # (96, S, S, 3) uint8
    work.output.mkdir(parents=True, exist_ok=True)
    onnx_file = work.output / "model.onnx"
    stages = {"fp32 before": work.accuracy(parent)}
    stages["int8 before"] = _int8_accuracy(work, parent, pixels, onnx_file)
    network, seconds = parent, 0.0
    if work.recipe.epochs:
        pupil = fake_quantised(parent, spec, pixels)
        seconds = work.train(pupil, [FollowWeights()])
        network = plain_network(pupil, parent)
        stages["fp32 after"] = work.accuracy(network)
        stages["int8 after"] = _int8_accuracy(work, network, pixels, onnx_file)
    report = QuantisationReport(onnx_file.stat().st_size, WEIGHT_BITS, ACTIVATION_BITS, stages, seconds)
    work.write_report(report)
    save_weights(TrainedNetwork(spec, network), work.output / "weights.safetensors")
    return report


def fake_quantised(network: nn.Module, spec: NetworkSpec, pixels: np.ndarray) -> nn.Module:
    """A copy that rounds its weights and activations, their ranges calibrated.

    Args:
        network: In FP32; it is left as it is.
        spec: The normalisation.
        pixels: (N, S, S, 3) uint8, what ranges are calibrated on.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mean, std = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (spec.mean, spec.std))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)

    @torch.no_grad()
    def run(model: nn.Module) -> None:
        for batch in images.split(_BATCH):
            model(normalised(batch.to(device).float() / 255, mean, std))

    network = copy.deepcopy(network).eval().to(device)
    with quiet_modelopt():
        import modelopt.torch.quantization as mtq

        network = mtq.quantize(network, _quantisers(network, run), run)
        run(network)  # on a GPU, the first rounding compiles kernels, and says so on stdout
    return network.cpu()


def plain_network(fake: nn.Module, like: nn.Module) -> nn.Module:
    """The weights of a network with fake quantisers in a network that has none, built like ``like``."""
    tensors = fake.state_dict()
    plain = copy.deepcopy(like)
    plain.load_state_dict({name: tensors[name] for name in plain.state_dict()})
    return plain


def _quantisers(network: nn.Module, run: Callable[[nn.Module], None]) -> dict[str, Any]:
    """ModelOpt's configuration for what ONNX Runtime's quantiser does.

    Activations that are never negative, as behind a ReLU, have all levels above zero. The first convolution's input
    is not rounded: normalisation is merged into its weights at export, so that its input in the engine are pixels,
    and the 256 levels of a pixel are exact.
    """
    unsigned = {"num_bits": ACTIVATION_BITS, "axis": None, "unsigned": True}
    signed = {**unsigned, "unsigned": False}
    first = next(name for name, layer in weighted_layers(network).items() if isinstance(layer, nn.Conv2d))
    entries: list[dict[str, Any]] = [
        {"quantizer_name": "*", "enable": False},
        {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": WEIGHT_BITS, "axis": 0}},
        {"quantizer_name": f"{head_of(network)[0]}.output_quantizer", "cfg": signed},
    ]
    for name, smallest in _smallest_inputs(network, run).items():
        entries.append({"quantizer_name": f"{name}.input_quantizer", "cfg": signed if smallest < 0 else unsigned})
    entries.append({"quantizer_name": f"{first}.input_quantizer", "enable": False})
    return {"quant_cfg": entries, "algorithm": "max"}


def _smallest_inputs(network: nn.Module, run: Callable[[nn.Module], None]) -> dict[str, float]:
    """The smallest value that each layer gets, by name."""
    smallest: dict[str, float] = {}

    def remember(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            smallest[name] = min(smallest.get(name, 0.0), float(inputs[0].min()))

        return hook

    handles = [layer.register_forward_pre_hook(remember(name)) for name, layer in weighted_layers(network).items()]
    run(network)
    for handle in handles:
        handle.remove()
    return smallest


def _int8_accuracy(work: Retraining, network: nn.Module, pixels: np.ndarray, onnx_file: Path) -> dict[str, Accuracy]:
    """Export, quantise, and measure by split what ONNX Runtime makes of the graph."""
    with tempfile.TemporaryDirectory() as scratch:
        fp32_file = Path(scratch) / "model.onnx"
        onnx_from_network(TrainedNetwork(work.parent.spec, network), fp32_file)
        int8_for_cpu(fp32_file, pixels, onnx_file)
    return {name: onnx_accuracy(onnx_file, photographs) for name, photographs in work.photographs.items()}


def onnx_accuracy(onnx_file: Path, photographs: ServedPhotographs) -> Accuracy:
    """Accuracy of a graph that ONNX Runtime runs on the CPU."""
    infer = onnxruntime_infer(onnx_file)
    pixels = photographs.pixels.permute(0, 2, 3, 1).contiguous()  # (M, S, S, 3) uint8
    probabilities = torch.cat([torch.from_numpy(infer(batch.numpy())) for batch in pixels.split(_BATCH)])
    return accuracy_from_probabilities(probabilities, photographs.targets)
