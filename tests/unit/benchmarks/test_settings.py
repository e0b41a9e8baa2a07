"""A variant's settings end up in the configs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "alexnet").mkdir()
    text = 'name: "alexnet"\ninstance_group { count: 1 kind: KIND_CPU }\ndynamic_batching { }\n'
    (tmp_path / "alexnet" / "config.pbtxt").write_text(text)
    return tmp_path


def test_settings_are_written_into_the_model_that_they_name(repository: Path, benchmark_module) -> None:
    benchmark_module("settings").apply_settings(
        repository,
        "alexnet.instances=2,alexnet.max_queue_delay_us=7,alexnet.preferred_batch_size=8,alexnet.threads=3",
    )
    config = benchmark_module("configs").config_of(repository, "alexnet")
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.max_queue_delay_microseconds == 7
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.parameters["threads"].string_value == "3"


@pytest.mark.parametrize("setting", ["alexnet", "alexnet.instances", "instances=2", "alexnet.instances="])
def test_a_setting_of_another_form_is_refused(repository: Path, benchmark_module, setting: str) -> None:
    with pytest.raises(ValueError, match=r"expected MODEL\.NAME=VALUE"):
        benchmark_module("settings").apply_settings(repository, setting)
