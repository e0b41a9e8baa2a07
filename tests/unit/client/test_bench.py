"""`bench` where no server is needed: its arithmetic, its output, and a whole run against a fake transport."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from typing import Any

import pytest
from alexnet_client import (
    AsyncClassifier,
    InvalidImage,
    InvalidSetting,
    Result,
    ServerFault,
    ServerStatus,
    Unauthorized,
)
from alexnet_client import _calls as calls
from alexnet_client._cli.bench import Album as BenchAlbum
from alexnet_client._cli.bench import Plan, album_from_paths, bench, counts_from_text, generated_album
from alexnet_client._cli.bench_report import (
    CSV_HEADER,
    BenchCsv,
    BenchJson,
    BenchTable,
    cells_from_load,
    milliseconds,
    row_from_load,
    server_lines,
)
from alexnet_client._cli.load import Load, Recorder, keep_busy, percentile
from alexnet_client._cli.options import Connection
from alexnet_client._many import NOTHING_YET
from alexnet_client._statistics import ModelWork, work_between
from rich.console import Console

STATUS = ServerStatus("gpu:8001", "triton", "2.69.0", True, True, (), None)
SERVER = (
    ModelWork("classifier", 40, 40, 0.0, 0.0, 0.012, 0.020),
    ModelWork("preprocess", 40, 40, 4.0, 0.003, 0.005, 0.008),
    ModelWork("alexnet", 40, 40, 8.0, 0.005, 0.007, 0.012),
)


def made_load(**changes: Any) -> Load:
    values: dict[str, Any] = {
        "concurrency": 8,
        "seconds": 2.0,
        "latencies_s": [n / 1000 for n in range(1, 101)],
        "errors": {"ServerFault": 3},
        "reasons": {"ServerFault": "it failed"},
        "client_cpu_s": 0.5,
        "server": SERVER,
    }
    return Load(**values | changes)


class Written:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.begun = self.ended = 0

    def begin(self, status: ServerStatus, images: Any, *, generated: bool) -> None:
        self.begun += 1

    def write(self, load: Load) -> None:
        self.loads.append(load)

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (90, 90), (99, 99), (100, 100), (0.5, 1), (50.5, 51)])
def test_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_percentile_of_one_value_and_of_none() -> None:
    assert [percentile([7.0], percent) for percent in (1, 50, 100)] == [7.0] * 3
    assert math.isnan(percentile([], 50))


def test_counts_are_whole_numbers_separated_by_commas() -> None:
    assert counts_from_text("1, 8,32") == (1, 8, 32)
    for text in ("", "0", "1,,2", "a", "-1", "1.5", "²"):
        with pytest.raises(InvalidSetting, match="expected whole numbers from 1, such as 1,8,32"):
            counts_from_text(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00048, "0.48 ms"), (0.0123, "12.3 ms"), (0.245, "245 ms"), (1.5, "1500 ms"), (math.nan, "-")],
)
def test_milliseconds_have_three_digits(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


def test_load_knows_its_rates() -> None:
    load = made_load()
    assert (load.images, load.failed, load.images_per_s, load.client_cores) == (100, 3, 50.0, 0.25)
    assert load.mean_s == pytest.approx(0.0505)
    assert load.client_s_per_image == pytest.approx(0.5 / 103)


def test_row_of_the_table_says_rate_latency_failures_and_cost() -> None:
    expected = ("8", "50.0", "50.0 ms", "90.0 ms", "99.0 ms", "100 ms", "3", "0.25 cores")
    assert cells_from_load(made_load()) == expected


def test_load_in_which_everything_failed_has_no_latency() -> None:
    load = made_load(latencies_s=[])
    assert cells_from_load(load)[1:6] == ("0.0", "-", "-", "-", "-")
    assert row_from_load(load)["latency_ms"] == dict.fromkeys(("mean", "p50", "p90", "p99", "max"))


def test_server_lines_say_where_the_mean_image_was() -> None:
    assert server_lines(made_load()) == [
        "at concurrency 8, the mean image took 50.5 ms:",
        "  client and network     30.5 ms",
        "  preprocess, queue       3.0 ms",
        "  preprocess, compute     5.0 ms  in batches of 4.0",
        "  alexnet, queue          5.0 ms",
        "  alexnet, compute        7.0 ms  in batches of 8.0",
    ]
    assert server_lines(made_load(server=())) == []


def counters(name: str, requests: int, **changes: float) -> calls.ModelStatistics:
    values = {"images": requests, "executions": requests, "total_s": 0.0, "queue_s": 0.0, "compute_s": 0.0}
    return calls.ModelStatistics(name=name, version="1", requests=requests, **values | changes)  # type: ignore[arg-type]


def test_work_is_the_difference_of_two_readings_for_each_request() -> None:
    before = [counters("a", 10, total_s=5.0, queue_s=1.0, compute_s=4.0), counters("idle", 3)]
    after = [
        counters("a", 30, images=50, executions=20, total_s=9.0, queue_s=3.0, compute_s=6.0),
        counters("idle", 3),
        counters("loaded meanwhile", 5),
    ]
    assert work_between(before, after) == (ModelWork("a", 20, 40, 4.0, 0.1, 0.1, 0.2),)


def test_json_has_a_row_a_load_and_null_for_what_there_is_none_of() -> None:
    stream = io.StringIO()
    writer = BenchJson(stream)
    writer.begin(STATUS, [b"1234", b"56"], generated=False)
    writer.write(made_load(latencies_s=[], server=()))
    writer.end()
    report = json.loads(stream.getvalue())
    assert report["server"] == {"url": "gpu:8001", "name": "triton", "version": "2.69.0"}
    assert report["images"] == {"count": 2, "mean_bytes": 3, "generated": False}
    (row,) = report["loads"]
    assert (row["failed"], row["errors"], row["server"]) == (3, {"ServerFault": 3}, [])
    assert row["latency_ms"]["p50"] is None


def test_csv_has_a_row_a_load() -> None:
    stream = io.StringIO()
    writer = BenchCsv(stream)
    writer.begin(STATUS, [b"1"], generated=True)
    writer.write(made_load())
    header, row = csv.reader(io.StringIO(stream.getvalue()))
    assert tuple(header) == CSV_HEADER
    assert row == ["8", "2.0", "100", "3", "50.0", "50.5", "50.0", "90.0", "99.0", "100.0", "0.25", "4854.4"]


def written_table(terminal: bool) -> list[str]:
    stream = io.StringIO()
    table = BenchTable(Console(file=stream, force_terminal=terminal, color_system=None, width=80, highlight=False))
    table.begin(STATUS, [b"x" * 99_000] * 2, generated=False)
    table.write(made_load())
    table.end()
    return stream.getvalue().splitlines()


def test_table_in_a_pipe_is_plain_and_has_no_plot() -> None:
    lines = written_table(terminal=False)
    assert lines[:2] == ["triton 2.69.0 at gpu:8001", "2 images, 99 KB on average"]
    assert lines[3].split() == ["concurrency", "images/s", "p50", "p90", "p99", "max", "failed", "client", "CPU"]
    assert "failed at concurrency 8: ServerFault x 3, the first: it failed" in lines
    assert not any("█" in line for line in lines)


def test_table_on_a_terminal_of_80_columns_fits_and_has_a_plot() -> None:
    lines = written_table(terminal=True)
    assert max(map(len, lines)) <= 80
    assert any("█" in line for line in lines)


def test_generated_images_are_png_files_of_a_photograph_s_size_and_always_the_same() -> None:
    album = generated_album()
    assert album.generated
    assert len(set(album.images)) == 4
    assert all(image.startswith(b"\x89PNG") for image in album.images)
    assert 50_000 < album.mean_bytes < 250_000
    assert generated_album() == album


def test_album_skips_waiting_and_leaves_out_what_does_not_fit() -> None:
    album = album_from_paths([b"1234", NOTHING_YET, b"5678", b"9"], largest_bytes=5)
    assert (album.images, album.left_out) == ((b"1234", b"5678"), 1)


def test_album_of_nothing_or_of_a_missing_file_is_refused() -> None:
    with pytest.raises(InvalidImage, match="there is no image to send"):
        album_from_paths([])
    with pytest.raises(InvalidImage, match=r"none\.jpg: no such file"):
        album_from_paths(["none.jpg"])


def run_bench(transport: Any, concurrencies: tuple[int, ...], writer: Any, images: tuple[bytes, ...] = (b"a",)) -> int:
    plan = Plan(concurrencies, seconds=4.0, warmup_s=1.0, top_k=2, deadline_s=30.0)
    return asyncio.run(bench(transport, BenchAlbum(images), plan, writer, Connection("gpu:8001")))


def test_bench_measures_each_concurrency_for_its_seconds_after_the_warm_up(async_transport: Any) -> None:
    async_transport.seconds_a_call = 0.25
    read = iter(range(100))
    async_transport.on[calls.ReadStatistics] = lambda call: (counters(call.model, next(read)),)
    writer = Written()
    assert run_bench(async_transport, (1, 2), writer) == 0
    assert (writer.begun, writer.ended) == (1, 1)
    assert [load.concurrency for load in writer.loads] == [1, 2]
    for load in writer.loads:
        assert 4.0 <= load.seconds <= 4.5
        assert load.failed == 0
        assert 14 <= load.images <= 17  # one call at a time on the fake clock, 0.25 s each
        assert [work.model for work in load.server] == ["classifier", "preprocess", "alexnet"]
    assert writer.loads[0].latencies_s[0] == 0.25


def test_bench_counts_failures_by_their_kind(async_transport: Any) -> None:
    async_transport.seconds_a_call = 0.25

    def answer(call: calls.Infer) -> list[bytes]:
        if call.image_bytes == b"bad":
            raise InvalidImage("not an image")
        if call.image_bytes == b"worse":
            raise ServerFault("it failed")
        return [b"1.0:0:a", b"0.0:1:b", b"0.0:2:c"][: call.class_count]

    async_transport.on[calls.Infer] = answer
    writer = Written()
    failed = run_bench(async_transport, (1,), writer, (b"a", b"bad", b"worse", b"bad"))
    (load,) = writer.loads
    assert failed == load.failed > 0
    assert list(load.errors) == ["InvalidImage", "ServerFault"]
    assert load.reasons == {"InvalidImage": "not an image", "ServerFault": "it failed"}
    assert load.images > 0


def test_bench_goes_on_without_the_counters_of_a_server_that_hides_them(async_transport: Any) -> None:
    async_transport.seconds_a_call = 0.25
    async_transport.fail(calls.ReadStatistics, *[Unauthorized("restricted")] * 2)
    writer = Written()
    run_bench(async_transport, (1,), writer)
    assert writer.loads[0].images > 0
    assert writer.loads[0].server == ()


def test_interrupted_bench_writes_what_was_measured(async_transport: Any) -> None:
    async_transport.seconds_a_call = 0.25
    classified = 0

    def interrupt_at_20(call: calls.Infer) -> list[bytes]:
        nonlocal classified
        classified += 1
        if classified == 20:
            raise KeyboardInterrupt
        return [b"1.0:0:a", b"0.0:1:b", b"0.0:2:c"][: call.class_count]

    async_transport.on[calls.Infer] = interrupt_at_20
    writer = Written()
    with pytest.raises(KeyboardInterrupt):
        run_bench(async_transport, (1, 8), writer)
    assert [load.concurrency for load in writer.loads] == [1]
    assert 0 < writer.loads[0].images < 16
    assert writer.ended == 1


def test_warm_up_does_not_count(async_transport: Any) -> None:
    async_transport.seconds_a_call = 1.0

    async def none() -> None:
        return None

    async def run() -> Load | None:
        recorder = Recorder(1, async_transport.now_s, cpu_s=async_transport.now_s)
        await keep_busy(
            AsyncClassifier(transport=async_transport),
            [b"a"],
            recorder,
            concurrency=1,
            seconds=5.0,
            warmup_s=3.0,
            top_k=1,
            now_s=async_transport.now_s,
            read_counters=none,
        )
        return recorder.load()

    load = asyncio.run(run())
    assert load is not None
    # metadata and two images fill the warm-up; the last image of the five seconds after it ends the run and counts
    assert (load.images, load.seconds, load.client_cpu_s) == (5, 5.0, 5.0)


def test_recorder_without_results_has_no_load() -> None:
    recorder = Recorder(1, lambda: 0.0)
    assert recorder.load() is None
    recorder.begin(None)
    assert recorder.load() is None
    recorder.add(Result("image 0", 0, (), None, 0.5))
    assert recorder.load() is not None
