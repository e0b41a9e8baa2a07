"""Settings in configs and in tuning.json: written, read back, and fitted to what is built next."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from alexnet_build.configs import ServingSpec, config_texts
from alexnet_build.tuning.compare import TAKEN, Trial, Turn
from alexnet_build.tuning.errors import TuningError
from alexnet_build.tuning.machine import Machine, this_machine
from alexnet_build.tuning.record import Record, read_tuning, tuned_config_text, tuning_from_json, write_tuning
from alexnet_build.tuning.report import line_of, table
from alexnet_build.tuning.run import Options
from alexnet_build.tuning.run import tune as tune_repository
from alexnet_build.tuning.search import Found
from alexnet_build.tuning.settings import NAMES, Tuning, apply_tuning, default_tuning, tuning_from_configs
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

TUNED = Tuning(
    preprocess_instances=6,
    decode_threads=3,
    preprocess_batch_sizes=(4,),
    alexnet_instances=2,
    intra_op_threads=5,
    alexnet_batch_sizes=(8, 16),
    max_queue_delay_us=200,
)
ON_CPU = ServingSpec("onnxruntime", 227, 101)
BEST = Turn(200, 50.0, 0.64, 0.71, 0.030)
FASTER = Turn(200, 60.0, 0.53, 0.6, 0.031)
TRIAL = Trial(
    setting="alexnet_instances", before=1, after=2, best=BEST, candidate=FASTER, ratio=1.2, noise=0.015, taken=True,
    why=TAKEN, turns=((False, BEST), (True, FASTER)),
)  # fmt: skip


def record(settings: Tuning = TUNED, *, engine: str = "onnxruntime", machine: Machine | None = None) -> Record:
    return Record(
        settings=settings,
        machine=machine or this_machine(),
        triton="2.51.0",
        engine={"engine": engine, "precision": "fp32", "engine_sha256": "0" * 64},
        load={"concurrency": 32, "photographs": 5},
        found=Found(Tuning(), settings, FASTER, (TRIAL,), True, ()),
        graphs=None,
        measured_at="2026-11-22T17:00:00+00:00",
        made_by="alexnet-triton 0.1.0",
        command="alexnet-build tune --repository models",
    )


def parsed(text: str) -> Any:
    return text_format.Parse(text, pb.ModelConfig())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository's configs, without models."""
    for model, text in config_texts(ON_CPU).items():
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").write_text(text)
    return tmp_path


def test_tuned_settings_are_in_the_configs_of_the_models_that_they_belong_to() -> None:
    texts = config_texts(replace(ON_CPU, tuning=TUNED))
    preprocess, alexnet = parsed(texts["preprocess"]), parsed(texts["alexnet"])
    assert preprocess.instance_group[0] == pb.ModelInstanceGroup(count=6, kind=pb.ModelInstanceGroup.KIND_CPU)
    assert preprocess.parameters["DECODE_THREADS"].string_value == "3"
    assert list(preprocess.dynamic_batching.preferred_batch_size) == [4]
    assert alexnet.instance_group[0] == pb.ModelInstanceGroup(count=2, kind=pb.ModelInstanceGroup.KIND_CPU)
    assert alexnet.parameters["intra_op_thread_count"].string_value == "5"
    assert list(alexnet.dynamic_batching.preferred_batch_size) == [8, 16]
    assert alexnet.dynamic_batching.max_queue_delay_microseconds == 200
    assert texts["classifier"] == config_texts(ON_CPU)["classifier"]


def test_threads_of_onnx_runtime_are_no_parameter_of_a_tensorrt_model() -> None:
    alexnet = parsed(config_texts(ServingSpec("tensorrt", 224, 1000, tuning=TUNED))["alexnet"])
    assert not alexnet.parameters
    assert alexnet.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU


@pytest.mark.parametrize("tuning", [Tuning(), TUNED, replace(TUNED, cuda_graphs=True, decode_threads=None)])
def test_settings_come_back_from_the_configs_that_they_were_rendered_into(tuning: Tuning) -> None:
    texts = config_texts(replace(ON_CPU, tuning=tuning))
    assert tuning_from_configs(parsed(texts["preprocess"]), parsed(texts["alexnet"])) == tuning


def test_default_settings_undo_all_others_to_the_byte() -> None:
    for model, text in config_texts(replace(ON_CPU, tuning=replace(TUNED, cuda_graphs=True))).items():
        config = parsed(text)
        apply_tuning(config, default_tuning("onnxruntime"))
        assert config == parsed(config_texts(ON_CPU)[model])


def test_cuda_graphs_off_leave_other_optimisations_alone() -> None:
    config = parsed(config_texts(replace(ON_CPU, tuning=Tuning(cuda_graphs=True)))["alexnet"])
    assert config.optimization.cuda.graphs
    config.optimization.input_pinned_memory.enable = True
    apply_tuning(config, Tuning())
    assert not config.optimization.HasField("cuda")
    assert config.optimization.input_pinned_memory.enable


def test_number_of_processes_that_is_asked_for_outweighs_the_tuned_one() -> None:
    texts = config_texts(replace(ON_CPU, tuning=TUNED, preprocess_instances=1))
    assert parsed(texts["preprocess"]).instance_group[0].count == 1
    assert parsed(texts["alexnet"]).instance_group[0].count == 2


def test_every_setting_has_a_name() -> None:
    assert list(NAMES) == list(asdict(Tuning()))


def test_written_configs_are_what_the_next_build_renders(repository: Path) -> None:
    write_tuning(repository, record())
    kept = read_tuning(repository, "onnxruntime", 64)
    assert kept == TUNED
    rendered = config_texts(replace(ON_CPU, tuning=kept))
    assert {model: (repository / model / "config.pbtxt").read_text() for model in rendered} == rendered


def test_written_configs_keep_what_tuning_knows_nothing_of(repository: Path) -> None:
    path = repository / "alexnet" / "config.pbtxt"
    path.write_text(path.read_text() + 'cc_model_filenames { key: "8.6" value: "model_sm86.plan" }\n')
    text = tuned_config_text(repository, "alexnet", TUNED)
    assert dict(parsed(text).cc_model_filenames) == {"8.6": "model_sm86.plan"}
    assert parsed(text).instance_group[0].count == 2


def test_tuning_json_holds_the_settings_and_every_turn(repository: Path) -> None:
    write_tuning(repository, record())
    content = json.loads((repository / "tuning.json").read_text())
    assert content["settings"] == json.loads(json.dumps(asdict(TUNED)))
    assert content["machine"]["cores"] == this_machine().cores
    trial = content["found"]["trials"][0]
    assert (trial["setting"], trial["before"], trial["after"], trial["taken"]) == ("alexnet_instances", 1, 2, True)
    assert [(is_candidate, turn["images_per_s"]) for is_candidate, turn in trial["turns"]] == [(False, 50), (True, 60)]


def test_repository_without_tuning_json_gets_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_tuning(tmp_path / "missing", "tensorrt", 64) is None
    assert capsys.readouterr().err == ""


def test_settings_for_another_engine_are_not_taken_over(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tuning(repository, record())
    assert read_tuning(repository, "tensorrt", 64) is None
    said = capsys.readouterr().err
    assert "was measured with onnxruntime, this is tensorrt: built with default settings" in said
    assert f"next: alexnet-build tune --repository {repository}" in said


def test_settings_of_another_machine_are_kept_and_said(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tuning(repository, record(machine=Machine(4096, "an abacus", ("H200",))))
    assert read_tuning(repository, "onnxruntime", 64) == TUNED
    said = capsys.readouterr().err
    assert "was measured on 4096 cores of an abacus, H200, this is" in said
    assert "its settings are kept" in said


def test_settings_of_this_machine_are_kept_without_a_word(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tuning(repository, record())
    read_tuning(repository, "onnxruntime", 64)
    assert capsys.readouterr().err == ""


def test_preferred_batches_larger_than_the_new_engine_are_left_out(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tuning(repository, record())
    assert read_tuning(repository, "onnxruntime", 8) == replace(TUNED, alexnet_batch_sizes=(8,))
    assert "prefers batches larger than 8: those are left out" in capsys.readouterr().err


def test_cuda_graphs_are_off_for_an_engine_that_they_were_not_tested_with(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tuning(repository, record(replace(TUNED, cuda_graphs=True)))
    assert read_tuning(repository, "onnxruntime", 64) == TUNED
    assert "CUDA graphs were tested with another engine: off" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"settings": {}}', '{"settings": {"preprocess_instances": 2}, "engine": {}}']
)
def test_damaged_tuning_json_is_refused_with_what_to_do(repository: Path, content: str) -> None:
    (repository / "tuning.json").write_text(content)
    with pytest.raises(TuningError, match=r"tuning\.json cannot be read .*; tune again, or delete it"):
        read_tuning(repository, "onnxruntime", 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [("preprocess_instances", "2"), ("cuda_graphs", 1), ("alexnet_batch_sizes", 8), ("alexnet_batch_sizes", ["8"])],
)
def test_setting_of_another_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=NAMES[name]):
        tuning_from_json({**asdict(Tuning()), name: value})


def test_full_disk_leaves_each_file_whole(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (repository / "alexnet" / "config.pbtxt").read_text()
    write_text = Path.write_text

    def fail(path: Path, text: str, **options: Any) -> int:
        if path.parent.name == "alexnet":
            write_text(path, text[:10], **options)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(TuningError, match=r"alexnet/config\.pbtxt cannot be written: No space left on device"):
        write_tuning(repository, record())
    assert (repository / "alexnet" / "config.pbtxt").read_text() == before
    assert not list(repository.rglob("*.part"))
    assert not (repository / "tuning.json").exists()


def test_table_shows_each_candidate_from_before_to_after_and_why() -> None:
    lines = table(record()).splitlines()
    assert lines[0].split() == [
        "setting", "from", "to", "images/s", "ratio", "noise", "p50", "ms", "p99", "ms", "alone", "ms", "taken", "why",
    ]  # fmt: skip
    assert " ".join(lines[2].split()) == (
        "alexnet.instances 1 2 50.0 → 60.0 1.20 1.5% 640 → 530 710 → 600 30.0 → 31.0 yes "
        "better in each of its turns, by more than the noise"
    )
    assert lines[4].startswith("chosen: preprocess.instances 6, preprocess.DECODE_THREADS 3, ")


def test_line_of_a_refused_candidate_says_why() -> None:
    refused = replace(TRIAL, candidate=None, taken=False, why="the server would not load it: no memory")
    assert line_of(refused) == "alexnet.instances 1 -> 2: not taken: the server would not load it: no memory"
    assert line_of(TRIAL) == (
        "alexnet.instances 1 -> 2: 50.0 -> 60.0 images/s, ratio 1.20, noise 1.5%; "
        "taken: better in each of its turns, by more than the noise"
    )


def test_cuda_graphs_are_refused_for_another_engine_before_anything_starts(repository: Path) -> None:
    options = Options(repository, cuda_graphs=True)
    with pytest.raises(TuningError, match=r"--cuda-graphs is for TensorRT, and .* is for onnxruntime; leave it out"):
        tune_repository(options, tell=pytest.fail, heard=pytest.fail)


def test_another_machine_needs_its_number_of_cores(repository: Path) -> None:
    with pytest.raises(TuningError, match=r"gpu-server:8001 is another machine, .*expected --cores N"):
        tune_repository(Options(repository, url="gpu-server:8001"), tell=pytest.fail, heard=pytest.fail)


def test_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"alexnet/config\.pbtxt cannot be read: .*alexnet-build repository"):
        tune_repository(Options(tmp_path), tell=pytest.fail, heard=pytest.fail)
