"""Renders the three models' ``config.pbtxt`` through Triton's own ModelConfig protobuf.

In: a ``ServingSpec``. Out: text by model name. The committed ``model_repository/`` is what this renders for
torchvision's ImageNet network behind TensorRT; a test compares the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from alexnet_build.tensors import ALEXNET, CLASSIFIER, EMBEDDINGS, IMAGE, PIXELS, PREPROCESS, PROBABILITIES
from alexnet_build.tuning.settings import Engine, Tuning, apply_tuning, default_tuning

PreprocessDevice = Literal["auto", "cpu", "gpu"]
#: What may run an ONNX file on the CPU in place of ONNX Runtime itself, named as Triton names it.
Accelerator = Literal["openvino"]

# An hour: longer than any client waits.
LONGEST_WAIT_US = 3_600_000_000

ENGINE_FILES: dict[Engine, str] = {"tensorrt": "model.plan", "onnxruntime": "model.onnx"}
LABELS_FILE = "labels.txt"
WARMUP_PHOTOGRAPH = "photograph"
WARMUP_PIXELS = "pixels"


@dataclass(frozen=True)
class ServingSpec:
    """What the configs depend on.

    Attributes:
        engine: What runs the network.
        image_size: Side S of the square input, in pixels.
        classes: Number of classes C.
        resize_short_side: Short side before the centre crop, in pixels.
        max_batch: Largest batch of the network and of a request.
        preprocess_instances: Processes that decode photographs; None: what the tuning says.
        plan_files: With several GPUs' plans in a version, the file of each compute capability.
        tuning: What ``alexnet-build tune`` has measured; None: the defaults for the engine and ``cores``.
        preprocess_device: Where photographs are decoded; None: left to the model, as ``auto``.
        cores: Of the machine that serves; None: this one's for ONNX Runtime, unknown for TensorRT.
        embedding_width: Features D of the second output, EMBEDDINGS; None: there is no such output.
        accelerator: What runs the network in place of ONNX Runtime itself; None: nothing, or the engine is TensorRT.
    """

    engine: Engine
    image_size: int
    classes: int
    resize_short_side: int = 256
    max_batch: int = 64
    preprocess_instances: int | None = None
    plan_files: Mapping[str, str] = field(default_factory=dict)
    tuning: Tuning | None = None
    preprocess_device: PreprocessDevice | None = None
    cores: int | None = None
    embedding_width: int | None = None
    accelerator: Accelerator | None = None

    @property
    def settings(self) -> Tuning:
        """The tuning, with the number of processes that was asked for."""
        on_gpu = self.preprocess_device in ("auto", "gpu")
        tuning = self.tuning or default_tuning(self.engine, self.cores, decodes_on_gpu=on_gpu)
        if self.preprocess_instances is None:
            return tuning
        return replace(tuning, preprocess_instances=self.preprocess_instances)


def config_texts(spec: ServingSpec) -> dict[str, str]:
    """The text of each model's ``config.pbtxt``, by model name."""
    from google.protobuf import text_format

    configs = {
        PREPROCESS: _preprocess(spec),
        ALEXNET: _alexnet(spec),
        CLASSIFIER: _classifier(spec),
    }
    for config in configs.values():
        apply_tuning(config, spec.settings)
    return {name: HEADER + text_format.MessageToString(config) for name, config in configs.items()}


HEADER = "# Rendered by alexnet-build repository; change the options there, not this file.\n"


def _new_config(name: str, spec: ServingSpec) -> Any:
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2.ModelConfig(name=name, max_batch_size=spec.max_batch)


def _pixels_dims(spec: ServingSpec) -> list[int]:
    return [spec.image_size, spec.image_size, 3]


def _batch(config: Any) -> None:
    """Let Triton put requests together, and refuse one that waited for longer than its parameter ``timeout`` says."""
    policy = config.dynamic_batching.default_queue_policy
    # A request may only shorten the default, which none has by itself.
    policy.allow_timeout_override = True
    policy.default_timeout_microseconds = LONGEST_WAIT_US


def _preprocess(spec: ServingSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    config = _new_config(PREPROCESS, spec)
    config.backend = "python"
    config.input.add(name=IMAGE, data_type=pb.TYPE_STRING, dims=[1])
    config.output.add(name=PIXELS, data_type=pb.TYPE_UINT8, dims=_pixels_dims(spec))
    # KIND_GPU makes instances on every GPU, and Triton refuses the model where there is none.
    on_gpu = spec.preprocess_device == "gpu"
    config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU)
    _batch(config)
    config.parameters["RESIZE_SHORT_SIDE"].string_value = str(spec.resize_short_side)
    if spec.preprocess_device is not None:
        config.parameters["DEVICE"].string_value = spec.preprocess_device
    warmup = config.model_warmup.add(name="one photograph", batch_size=1)
    warmup.inputs[IMAGE].CopyFrom(
        pb.ModelWarmup.Input(data_type=pb.TYPE_STRING, dims=[1], input_data_file=WARMUP_PHOTOGRAPH)
    )
    return config


def _alexnet(spec: ServingSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    config = _new_config(ALEXNET, spec)
    config.backend = spec.engine
    config.default_model_filename = ENGINE_FILES[spec.engine]
    for compute_capability, file_name in spec.plan_files.items():
        config.cc_model_filenames[compute_capability] = file_name
    config.input.add(name=PIXELS, data_type=pb.TYPE_UINT8, dims=_pixels_dims(spec))
    config.output.add(name=PROBABILITIES, data_type=pb.TYPE_FP32, dims=[spec.classes], label_filename=LABELS_FILE)
    if spec.embedding_width:
        config.output.add(name=EMBEDDINGS, data_type=pb.TYPE_FP32, dims=[spec.embedding_width])
    on_gpu = spec.engine == "tensorrt"
    kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind)
    if spec.accelerator:
        config.optimization.execution_accelerators.cpu_execution_accelerator.add(name=spec.accelerator)
    _batch(config)
    for batch_size in dict.fromkeys((1, spec.max_batch)):
        warmup = config.model_warmup.add(name=f"batch of {batch_size}", batch_size=batch_size)
        warmup.inputs[PIXELS].CopyFrom(
            pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=_pixels_dims(spec), input_data_file=WARMUP_PIXELS)
        )
    return config


def _classifier(spec: ServingSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    config = _new_config(CLASSIFIER, spec)
    config.platform = "ensemble"
    config.input.add(name=IMAGE, data_type=pb.TYPE_STRING, dims=[1])
    config.output.add(name=PROBABILITIES, data_type=pb.TYPE_FP32, dims=[spec.classes])
    for model, takes, gives in ((PREPROCESS, IMAGE, PIXELS), (ALEXNET, PIXELS, PROBABILITIES)):
        step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        step.input_map[takes] = takes
        step.output_map[gives] = gives
    if spec.embedding_width:
        config.output.add(name=EMBEDDINGS, data_type=pb.TYPE_FP32, dims=[spec.embedding_width])
        config.ensemble_scheduling.step[-1].output_map[EMBEDDINGS] = EMBEDDINGS
    return config
