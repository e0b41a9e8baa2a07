"""What goes into NVIDIA's perf_analyzer and what is read out of its report."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

REPORT = """Request concurrency: 32
  Client:
    Request count: 1143
    Throughput: 158.292 infer/sec
    p50 latency: 197802 usec
    p90 latency: 292969 usec
    p99 latency: 391167 usec
  Server:
    Inference count: 1143
"""


@pytest.fixture
def perf_analyzer(benchmark_module):
    return benchmark_module("perf_analyzer")


def test_figures_are_read_in_seconds(perf_analyzer) -> None:
    assert perf_analyzer.figures_from_report(REPORT) == (1143, 158.292, 0.197802, 0.391167)


def test_a_report_without_a_figure_is_refused(perf_analyzer) -> None:
    with pytest.raises(perf_analyzer.PerfAnalyzerError, match="lacks a figure"):
        perf_analyzer.figures_from_report(REPORT.replace("p99", "p95"))


def test_images_are_written_as_string_tensors_with_their_length(perf_analyzer, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"abcde")
    perf_analyzer.write_input_data([tmp_path / "0.jpg"], tmp_path / "images.json")
    (step,) = json.loads((tmp_path / "images.json").read_text())["data"]
    assert step["IMAGE"]["shape"] == [1]
    assert base64.b64decode(step["IMAGE"]["b64"]) == b"\x05\x00\x00\x00abcde"


def test_libraries_get_the_names_that_the_program_asks_for(perf_analyzer, tmp_path: Path) -> None:
    perf_analyzer.link_libraries(tmp_path)
    assert {path.name: path.resolve().name.split("-")[0] for path in tmp_path.iterdir()} == {
        "libb64.so.0d": "libb64",
        "libcudart.so.12": "libcudart",
    }
