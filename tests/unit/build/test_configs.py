from __future__ import annotations

import os
from pathlib import Path

import pytest
from alexnet_build.configs import ServingSpec, config_texts
from alexnet_build.repository import repository_files
from alexnet_build.tuning.settings import Tuning
from alexnet_build.weights_imagenet import imagenet_spec
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

ROOT = Path(__file__).parents[3]


def parsed(spec: ServingSpec) -> dict[str, pb.ModelConfig]:
    return {name: text_format.Parse(text, pb.ModelConfig()) for name, text in config_texts(spec).items()}


def test_rendering_the_default_network_gives_the_committed_repository_byte_for_byte() -> None:
    network = imagenet_spec()
    rendered = repository_files(ServingSpec("tensorrt", 224, 1000), network)
    committed = {
        str(path.relative_to(ROOT / "model_repository")): path.read_bytes()
        for path in (ROOT / "model_repository").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.parent.parent.name != "alexnet"
    } | {"alexnet/warmup/pixels": (ROOT / "model_repository/alexnet/warmup/pixels").read_bytes()}
    assert sorted(rendered) == sorted(committed)
    assert [name for name in rendered if rendered[name] != committed[name]] == []


@pytest.mark.parametrize("engine", ["tensorrt", "onnxruntime"])
def test_configs_agree_on_the_tensors_that_pass_between_the_models(engine: str) -> None:
    configs = parsed(ServingSpec(engine, 227, 101, max_batch=16))  # type: ignore[arg-type]
    preprocess, alexnet, classifier = configs["preprocess"], configs["alexnet"], configs["classifier"]
    assert preprocess.output[0] == pb.ModelOutput(name="PIXELS", data_type=pb.TYPE_UINT8, dims=[227, 227, 3])
    assert alexnet.input[0] == pb.ModelInput(name="PIXELS", data_type=pb.TYPE_UINT8, dims=[227, 227, 3])
    assert classifier.input == preprocess.input
    assert list(classifier.output[0].dims) == list(alexnet.output[0].dims) == [101]
    assert [step.model_name for step in classifier.ensemble_scheduling.step] == ["preprocess", "alexnet"]
    assert {config.max_batch_size for config in configs.values()} == {16}


def test_configs_give_the_ensemble_nothing_that_triton_refuses_there() -> None:
    classifier = parsed(ServingSpec("onnxruntime", 227, 101))["classifier"]
    assert not classifier.instance_group
    assert not classifier.model_warmup
    assert not classifier.HasField("dynamic_batching")


@pytest.mark.parametrize("model", ["preprocess", "alexnet"])
def test_request_may_say_how_long_it_waits_in_a_queue(model: str) -> None:
    policy = parsed(ServingSpec("onnxruntime", 227, 101))[model].dynamic_batching.default_queue_policy
    # Triton takes a request's timeout only if it is shorter than the default, and there is one.
    assert policy == pb.ModelQueuePolicy(allow_timeout_override=True, default_timeout_microseconds=3_600_000_000)


def test_configs_name_the_engine_file_and_where_it_runs() -> None:
    on_gpu = parsed(ServingSpec("tensorrt", 224, 1000))["alexnet"]
    on_cpu = parsed(ServingSpec("onnxruntime", 224, 1000))["alexnet"]
    assert (on_gpu.backend, on_gpu.default_model_filename) == ("tensorrt", "model.plan")
    assert (on_cpu.backend, on_cpu.default_model_filename) == ("onnxruntime", "model.onnx")
    assert on_gpu.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU
    assert on_cpu.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU


def test_preprocessing_device_is_left_to_the_model_unless_it_is_asked_for() -> None:
    preprocess = parsed(ServingSpec("onnxruntime", 227, 101))["preprocess"]
    assert "DEVICE" not in preprocess.parameters
    assert preprocess.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU


@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
def test_preprocessing_device_becomes_a_parameter_and_gpu_an_instance_on_each(device: str) -> None:
    spec = ServingSpec("onnxruntime", 227, 101, preprocess_device=device)  # type: ignore[arg-type]
    preprocess = parsed(spec)["preprocess"]
    assert preprocess.parameters["DEVICE"].string_value == device
    kinds = pb.ModelInstanceGroup
    assert preprocess.instance_group[0].kind == (kinds.KIND_GPU if device == "gpu" else kinds.KIND_CPU)


def instances(spec: ServingSpec) -> tuple[int, int]:
    """Processes that decode, copies of the network."""
    configs = parsed(spec)
    return configs["preprocess"].instance_group[0].count, configs["alexnet"].instance_group[0].count


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, (1, 1)), (2, (2, 2)), (4, (4, 2)), (8, (8, 2)), (16, (16, 4)), (64, (16, 4))]
)
def test_instances_on_a_cpu_are_as_many_as_suit_its_cores(cores: int, expected: tuple[int, int]) -> None:
    assert instances(ServingSpec("onnxruntime", 227, 101, cores=cores)) == expected


def test_instances_on_a_cpu_are_for_this_machine_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    assert instances(ServingSpec("onnxruntime", 227, 101)) == (16, 4)


def test_instances_for_a_gpu_do_not_depend_on_the_machine_that_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    assert instances(ServingSpec("tensorrt", 224, 1000)) == (2, 1)
    assert instances(ServingSpec("tensorrt", 224, 1000, cores=8)) == (8, 1)


@pytest.mark.parametrize(("device", "processes"), [(None, 16), ("cpu", 16), ("auto", 2), ("gpu", 2)])
def test_processes_that_may_decode_on_a_gpu_are_few(device: str | None, processes: int) -> None:
    spec = ServingSpec("onnxruntime", 227, 101, preprocess_device=device, cores=16)  # type: ignore[arg-type]
    assert instances(spec) == (processes, 4)


def test_settings_that_were_tuned_outweigh_the_cores() -> None:
    tuning = Tuning(preprocess_instances=3, alexnet_instances=1)
    assert instances(ServingSpec("onnxruntime", 227, 101, tuning=tuning, cores=16)) == (3, 1)
    assert instances(ServingSpec("onnxruntime", 227, 101, preprocess_instances=5, cores=16)) == (5, 4)


def test_accelerator_is_asked_for_in_the_words_of_triton() -> None:
    with_it = parsed(ServingSpec("onnxruntime", 227, 101, accelerator="openvino"))["alexnet"]
    without = parsed(ServingSpec("onnxruntime", 227, 101))["alexnet"]
    accelerators = with_it.optimization.execution_accelerators.cpu_execution_accelerator
    assert [accelerator.name for accelerator in accelerators] == ["openvino"]
    assert not without.HasField("optimization")


def test_repository_carries_the_kernel_and_all_modules_of_preprocessing() -> None:
    files = repository_files(ServingSpec("onnxruntime", 224, 1000), imagenet_spec())
    sources = {path.name for path in (ROOT / "model_repository/preprocess/1").iterdir() if path.is_file()}
    assert "crop_resize.cu" in sources
    assert {name.rpartition("/")[2] for name in files if name.startswith("preprocess/1/")} == sources


def test_warm_up_requests_carry_a_real_jpeg_and_its_pixels() -> None:
    files = repository_files(ServingSpec("onnxruntime", 224, 1000), imagenet_spec())
    photograph = files["preprocess/warmup/photograph"]
    assert int.from_bytes(photograph[:4], "little") == len(photograph) - 4
    assert photograph[4:6] == b"\xff\xd8"  # a JPEG starts like this
    assert len(files["alexnet/warmup/pixels"]) == 224 * 224 * 3
    configs = parsed(ServingSpec("onnxruntime", 224, 1000))
    assert [warmup.batch_size for warmup in configs["alexnet"].model_warmup] == [1, 64]
    assert [warmup.batch_size for warmup in configs["preprocess"].model_warmup] == [1]
