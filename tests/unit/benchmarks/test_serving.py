"""What is made of a run's results: targets, tables, pictures, and which sides are measured."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def results(benchmark_module, tmp_path: Path):
    """Two rounds in which each side did what the test's arithmetic expects."""
    results = benchmark_module("results").Results(tmp_path / "serving.jsonl")
    names = {"ours-fp32": "this project, FP32", "ours-int8": "this project, INT8"}
    names |= {"example-fp32": "NVIDIA's example, FP32", "litserve-fp32": "LitServe, FP32"}
    results.add("about", network="imagenet", cores=2, jpeg_size=[500, 375], peer_settings={"litserve": {"workers": 1}},
                jpeg_bytes={"min": 7e4, "p50": 1.1e5, "max": 1.2e5}, names=names,
                machine={"processor": "a CPU", "cores": 2, "memory_gib": 8.0, "system": "Linux", "python": "3.11",
                         "packages": {"numpy": "1.26.4"}, "date": "2026-01-02"})  # fmt: skip
    served = {"ours-fp32": 90.0, "ours-int8": 200.0, "example-fp32": 25.0, "litserve-fp32": 60.0}
    for number in (1, 2):
        results.add("alone", work="decode", round=number, images_per_s=400.0)
        lone = {"engine": "openvino", "batch_size": 1, "images_per_s": 60.0}
        results.add("alone", work="network", precision="fp32", round=number, **lone)
        for engine, rate in (("openvino", 133.3333333333), ("onnxruntime", 100.0)):
            results.add(
                "alone", work="network", precision="fp32", engine=engine, batch_size=32, round=number, images_per_s=rate
            )
        for concurrency in (1, 32):
            for side, rate in served.items():
                turn = load_of(benchmark_module, rate + number - 1.5)
                add_turn(benchmark_module, results, side, concurrency, number, turn)
        for side, beside in (("ours-fp32", "alone"), ("ours-fp32", "example-fp32"), ("ours-int8", "example-fp32"),
                             ("ours-fp32", "litserve-fp32"), ("ours-fp32", "client")):  # fmt: skip
            load = load_of(benchmark_module, served[side])
            add_turn(benchmark_module, results, side, 32, number, load, beside)
        client = benchmark_module("results").Turn("ours-fp32", "client", 32, number, load_of(benchmark_module, 96.3))
        results.add_turn(client)
    results.add("latency", precision="fp32", ratio=1.2)
    return results


def load_of(benchmark_module, images_per_s: float):
    return benchmark_module("load").Load(100, 0, 2.0, images_per_s, 0.3, 0.5, 1.8, 0.05, 0.1, 500 << 20)


def add_turn(benchmark_module, results, side: str, concurrency: int, number: int, load, beside: str = "") -> None:
    tool = "http" if side.startswith("litserve") else "perf_analyzer"
    results.add_turn(benchmark_module("results").Turn(side, tool, concurrency, number, load, beside))


def test_bound_is_what_decoding_and_the_network_leave(results, benchmark_module) -> None:
    assert benchmark_module("targets").bound_of(results, "fp32") == pytest.approx(100)
    assert benchmark_module("targets").bound_of(results, "fp32", "onnxruntime") == pytest.approx(80)
    assert benchmark_module("targets").bound_of(results, "int8") is None


def test_targets_compare_medians_with_their_limits(results, benchmark_module) -> None:
    found = {
        target.name: (round(target.ratio, 2), target.reached) for target in benchmark_module("targets").targets(results)
    }
    assert found == {
        "FP32, share of the bound": (0.9, True),
        "FP32 over NVIDIA's example (FP32)": (3.6, False),
        "INT8 over NVIDIA's example (FP32)": (8.0, True),
        "FP32 over LitServe (FP32)": (1.5, True),
        "FP32, this client over perf_analyzer": (1.07, True),
        "FP32, one request at a time over the same work in one process (p50)": (1.2, False),
    }


def test_results_are_read_back_as_they_were_written(results, benchmark_module) -> None:
    again = benchmark_module("results").Results(results.path)
    assert again.records == results.records
    assert asdict(again.loads("litserve-fp32", 32)[1])["images_per_s"] == 60.5


def test_this_projects_client_does_not_count_as_a_sides_figure(results, benchmark_module) -> None:
    assert results.median("ours-fp32", 32) == 90.0
    assert results.median("ours-fp32", 32, tool="client") == 96.3


def test_report_writes_csv_pictures_and_the_marked_section_alone(results, benchmark_module, tmp_path: Path) -> None:
    report = benchmark_module("serving_report")
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_report(results, tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n\n**Targets")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "| FP32 over NVIDIA's example (FP32) | 3.60 | at least 4.00 | **missed** |" in text
    assert "old" not in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "performance" / "serving.csv").read_text())))
    assert len(rows) == 28
    assert (rows[0]["side"], rows[0]["concurrency"], rows[0]["images_per_s"]) == ("ours-fp32", "1", "89.5")
    with Image.open(tmp_path / "performance" / "throughput.png") as picture:
        assert picture.size == (1560, 660)


def test_report_refuses_a_page_without_markers(results, benchmark_module, tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("nothing")
    with pytest.raises(ValueError, match="serving: begin"):
        benchmark_module("serving_report").write_report(results, tmp_path)


def test_sides_are_compared_with_ours_right_beside_them(results, benchmark_module, tmp_path: Path) -> None:
    slow = load_of(benchmark_module, 30.0)  # the machine's third round, in which both sides had half of it
    add_turn(benchmark_module, results, "litserve-fp32", 32, 3, slow)
    add_turn(benchmark_module, results, "ours-fp32", 32, 3, load_of(benchmark_module, 45.0), "litserve-fp32")
    assert results.ratio("ours-fp32", "litserve-fp32", 32) == 1.5
    assert results.ratio("ours-int8", "litserve-fp32", 32) is None


@pytest.fixture
def due_turns(benchmark_module, tmp_path: Path):
    """The turns of a round with 32 requests at once, as (side, tool, beside)."""
    module = benchmark_module("serving_run")
    run = module.Run.__new__(module.Run)
    run.sides = [side for side in benchmark_module("sides").all_sides() if side.kind in ("ours", "example", "pytriton")]
    run.rounds = module.ROUNDS
    return lambda number, concurrency: [tuple(due.values.values()) for due in run.turns(number, concurrency)]


def test_every_other_side_has_a_turn_of_ours_beside_it(due_turns) -> None:
    first = due_turns(1, 32)
    for side in ("example-fp32", "pytriton-fp32", "pytriton-int8"):
        place = first.index((side, "perf_analyzer", ""))
        assert first[place - 1] == (f"ours-{side[-4:]}", "perf_analyzer", side)
    assert ("ours-int8", "perf_analyzer", "example-fp32") in first
    assert first[:2] == [("ours-fp32", "perf_analyzer", "alone"), ("ours-int8", "perf_analyzer", "alone")]


def test_even_rounds_go_backwards_behind_what_is_compared_with_the_bound(due_turns) -> None:
    first, second = due_turns(1, 32), due_turns(2, 32)
    assert second == first[:2] + first[2:][::-1]
    assert due_turns(2, 8) == []
    assert [side for side, _, _ in due_turns(1, 8)][:2] == ["ours-fp32", "ours-int8"]


def test_labels_that_would_overlap_are_moved_apart(benchmark_module) -> None:
    pictures = benchmark_module("serving_pictures")
    placed = pictures.spread_out({"a": 0.50, "b": 0.51, "c": 0.90})
    assert placed == {"a": 0.50, "b": 0.50 + pictures.LABEL_GAP, "c": 0.90}


def test_sides_are_chosen_by_kind_and_by_key(benchmark_module) -> None:
    serving = benchmark_module("serving")
    chosen = serving.chosen_sides(["ours", "pytriton-int8"], Path("nowhere/bin/python"))
    assert [side.key for side in chosen] == ["ours-fp32", "ours-int8", "pytriton-int8"]


def test_an_unknown_side_and_peers_that_are_not_installed_are_refused(benchmark_module, tmp_path: Path) -> None:
    serving = benchmark_module("serving")
    with pytest.raises(SystemExit, match="unknown side flask"):
        serving.chosen_sides(["flask"], tmp_path / "bin" / "python")
    with pytest.raises(SystemExit, match=r"pip install -e '\.\[benchmark\]'"):
        serving.chosen_sides(["fastapi"], tmp_path / "bin" / "python")
