"""`alexnet-build tune` and its parts on a real server: settings that are really applied, and really put back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alexnet_build.tuning.compare import Rules
from alexnet_build.tuning.errors import CandidateRefusedError, TuningError
from alexnet_build.tuning.generator import expected_answers, running_generator
from alexnet_build.tuning.graphs import try_graphs
from alexnet_build.tuning.live import CANDIDATE, EXPLICIT_FLAGS, LiveServer
from alexnet_build.tuning.settings import Tuning, default_tuning, tuning_from_configs
from alexnet_client import Classifier
from alexnet_server import RunningServer, running_server
from alexnet_server.stubs import read_children

DEADLINE_S = 60
TUNE = [sys.executable, "-m", "alexnet_build", "tune"]
OTHER = Tuning(
    preprocess_instances=1,
    decode_threads=2,
    preprocess_batch_sizes=(4,),
    alexnet_instances=2,
    intra_op_threads=1,
    alexnet_batch_sizes=(8,),
    max_queue_delay_us=500,
)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        os.sched_yield()
    return pytest.fail(f"not within {DEADLINE_S} s: {what}")


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def processes(server: RunningServer, model: str) -> set[int]:
    """Of a model's instances, those that are ending among them."""
    return {child.pid for child in read_children(server.pid) if child.instance.startswith(model)}


def served_tuning(live: LiveServer) -> Tuning:
    return tuning_from_configs(live.served("preprocess"), live.served("alexnet"))


def is_candidate(live: LiveServer) -> bool:
    return any(CANDIDATE in live.served(model).parameters for model in ("preprocess", "alexnet"))


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo repository, to be written to."""
    copy = tmp_path_factory.mktemp("tune") / "models"
    shutil.copytree(repository, copy)
    return copy


@pytest.fixture(scope="module")
def explicit(folder: Path) -> Iterator[RunningServer]:
    """A server that lets its models be loaded."""
    with running_server(folder, triton_flags=EXPLICIT_FLAGS) as running:
        yield running


@pytest.fixture
def live(explicit: RunningServer, folder: Path) -> Iterator[LiveServer]:
    with LiveServer(explicit.grpc_url, folder) as server:
        yield server
        server.restore()


def test_settings_are_applied_and_put_back_and_the_files_stay(
    live: LiveServer, explicit: RunningServer, folder: Path
) -> None:
    before = files_in(folder)
    live.apply(OTHER)
    assert served_tuning(live) == OTHER
    wait_for(lambda: len(processes(explicit, "preprocess")) == 1, "one process of preprocess")
    wait_for(lambda: len(processes(explicit, "alexnet")) == 2, "two processes of alexnet")
    live.restore()
    assert not is_candidate(live)
    default = default_tuning("onnxruntime")
    # Triton fills the preferred batch size in
    assert served_tuning(live) == replace(default, preprocess_batch_sizes=(64,), alexnet_batch_sizes=(64,))
    wait_for(
        lambda: len(processes(explicit, "preprocess")) == default.preprocess_instances, "the processes of preprocess"
    )
    assert files_in(folder) == before


def test_every_candidate_starts_its_processes_anew(live: LiveServer, explicit: RunningServer) -> None:
    """Triton would keep processes where only their number changes, with the threads they chose by the old number."""
    live.apply(Tuning(preprocess_instances=1))
    wait_for(lambda: len(processes(explicit, "preprocess")) == 1, "one process of preprocess")
    before = processes(explicit, "preprocess")
    live.apply(Tuning(preprocess_instances=3))
    wait_for(lambda: len(processes(explicit, "preprocess")) == 3, "three processes of preprocess")
    assert not before & processes(explicit, "preprocess")


def test_answers_stay_right_while_settings_change(
    live: LiveServer, explicit: RunningServer, photographs: list[Path]
) -> None:
    done, answers = threading.Event(), []

    def ask() -> None:
        with Classifier(explicit.grpc_url, retries=0) as classifier:
            while not done.is_set():
                answers.append([classifier.classify(path, top_k=1)[0] for path in photographs])

    with Classifier(explicit.grpc_url) as classifier:
        expected = [classifier.classify(path, top_k=1)[0] for path in photographs]
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for tuning in (OTHER, Tuning(preprocess_instances=3), OTHER, Tuning()):
            rounds = len(answers)
            live.apply(tuning)
            wait_for(lambda rounds=rounds: len(answers) > rounds or not thread.is_alive(), "answers")
    finally:
        done.set()
        thread.join()
    assert [best.index for best in answers[-1]] == [best.index for best in expected]
    assert all([best.index for best in round_] == [best.index for best in expected] for round_ in answers)


def test_refused_candidate_leaves_the_settings_before_serving(live: LiveServer, photographs: list[Path]) -> None:
    live.apply(OTHER)
    with pytest.raises(CandidateRefusedError, match="failed to load 'alexnet'"):
        live.apply(Tuning(alexnet_batch_sizes=(65,)))
    assert tuning_from_configs(live.served("preprocess"), live.served("alexnet")).alexnet_instances == 2
    assert expected_answers(live.url, photographs)


def test_turns_count_answers_and_notice_wrong_ones(live: LiveServer, photographs: list[Path]) -> None:
    answers = expected_answers(live.url, photographs)
    assert [path for path, _ in answers] == photographs
    with running_generator(live.url, answers, concurrency=5, turn_s=0.5, warm_up_s=0.1, processes=2) as generator:
        turn = generator.turn()
    assert (turn.failed, turn.wrong, turn.error) == (0, 0, "")
    assert turn.images > 0
    assert turn.one_p50_s > 0
    assert 0 < turn.p50_s <= turn.p99_s
    mixed_up = [(path, None if index is None else index + 1) for path, index in answers]
    with running_generator(live.url, mixed_up, concurrency=2, turn_s=0.5, warm_up_s=0.1) as generator:
        assert generator.turn().wrong > 0


def test_graphs_test_passes_on_a_server_that_answers_right(live: LiveServer, photographs: list[Path]) -> None:
    """The backend here has no CUDA graphs to record: the setting arrives, and every answer belongs to its question."""
    with running_generator(
        live.url, expected_answers(live.url, photographs), concurrency=4, turn_s=0.3, warm_up_s=0.1
    ) as generator:
        applied = []

        def measure(tuning: Tuning) -> Any:
            live.apply(tuning)
            applied.append((tuning.cuda_graphs, live.served("alexnet").optimization.cuda.graphs))
            return generator.turn()

        found = try_graphs(
            live, Tuning(), photographs, measure, Rules(blocks=1), precision="fp32", sizes=(1, 3), rounds=2
        )
    assert sorted(found.answers) == ["alexnet", "classifier"]
    for answers in found.answers.values():
        assert (answers.wrong, answers.first_wrong) == (0, "")
        assert answers.largest_difference < 1e-5
        assert answers.answers >= 2 * 2 * 2 * 3
    assert applied == [(False, False), (True, True), (True, True), (False, False)]
    assert found.trial is not None


def test_server_without_model_control_is_refused_with_the_flags(repository: Path, server: RunningServer) -> None:
    with pytest.raises(TuningError, match="start it with: --model-control-mode=explicit --load-model=\\*"):
        LiveServer(server.grpc_url, repository)


def test_server_of_another_repository_is_refused(explicit: RunningServer, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = other / "preprocess" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 64", "max_batch_size: 32"))
    with pytest.raises(TuningError, match=r"serves another preprocess than .*batches up to 64.*expected.*up to 32"):
        LiveServer(explicit.grpc_url, other)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_search_puts_the_settings_back_and_writes_nothing(
    explicit: RunningServer, folder: Path, live: LiveServer, stop: signal.Signals
) -> None:
    before = files_in(folder)
    command = [*TUNE, "--repository", str(folder), "--url", explicit.grpc_url, "--turn-seconds", "0.3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: is_candidate(live) or process.poll() is not None, "a candidate's settings")
    process.send_signal(stop)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1, stderr
    assert stdout == ""
    assert f"stopped before the end; nothing was written to {folder}" in stderr
    assert "Traceback" not in stderr
    assert not is_candidate(live)
    assert files_in(folder) == before


def test_dry_run_prints_the_table_and_writes_nothing(folder: Path) -> None:
    before = files_in(folder)
    options = ["--setting", "alexnet.max_queue_delay_microseconds", "--turn-seconds", "0.3", "--concurrency", "4"]
    done = subprocess.run([*TUNE, "--repository", str(folder), *options, "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, first, *_ = done.stdout.splitlines()
    assert head.startswith("setting ")
    assert first.split()[:3] == ["alexnet.max_queue_delay_microseconds", "0", "200"]
    assert "Triton 2.51.0" in done.stdout
    assert "nothing was written (--dry-run)" in done.stderr
    assert files_in(folder) == before


@pytest.mark.slow
def test_tune_replaces_a_bad_setting_and_the_repository_serves_with_the_new_one(
    repository: Path, photographs: list[Path], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(repository, models)
    config = models / "alexnet" / "config.pbtxt"
    good = config.read_text()
    config.write_text(good.replace("dynamic_batching {", "dynamic_batching { max_queue_delay_microseconds: 200000"))
    command = [*TUNE, "--repository", str(models), "--setting", "alexnet.max_queue_delay_microseconds"]
    command += ["--concurrency", "1", "--turn-seconds", "0.3", "--minutes", "10", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    content = json.loads(done.stdout)
    assert json.loads((models / "tuning.json").read_text()) == content
    assert content["settings"]["max_queue_delay_us"] < 200_000
    assert content["engine"]["engine"] == "onnxruntime"
    trials = content["found"]["trials"]
    assert trials[0]["taken"]
    assert trials[0]["ratio"] > 2
    assert (trials[-1]["setting"], trials[-1]["taken"]) == ("all", True)
    if content["settings"]["max_queue_delay_us"] == 0:
        assert config.read_text() == good
    assert f"{models}: configs and tuning.json are written" in done.stderr

    with running_server(models, triton_flags=EXPLICIT_FLAGS) as afresh, LiveServer(afresh.grpc_url, models) as live:
        assert served_tuning(live).max_queue_delay_us == content["settings"]["max_queue_delay_us"]
        with Classifier(afresh.grpc_url) as classifier:
            assert classifier.classify(photographs[0], top_k=1)[0].label == "binocular"
