from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from alexnet_build.cli_inspect import inspect
from alexnet_build.errors import EngineError, MissingDependencyError
from alexnet_build.inference.device_session import DeviceSession
from alexnet_build.inference.onnx_session import OnnxSession
from alexnet_build.inference.torch_engine import TorchEngine
from alexnet_build.insight.ceilings import Ceilings, highest, measured_ceilings
from alexnet_build.insight.inspection import Inspection, InspectOptions
from alexnet_build.insight.latency import Timing, percentile, random_pixels, timing
from alexnet_build.insight.layers import Layer, TensorShape, short_names
from alexnet_build.insight.published import published_ceilings
from alexnet_build.insight.report import as_json, write_files
from alexnet_build.insight.table import table
from alexnet_build.insight.torch_layers import timed_layers
from alexnet_build.insight.units import three_digits, time_unit, with_prefix
from alexnet_build.network import AlexNet2012, NetworkSpec, ServingGraph
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.weights import TrainedNetwork, load_weights
from PIL import Image
from typer.testing import CliRunner

#: Operations for one image of the paper's network, ungrouped and with 101 classes; 2 C kH kW for each output.
FLOPS = {
    "conv1": 2 * 96 * 55 * 55 * 3 * 11 * 11,
    "conv2": 2 * 256 * 27 * 27 * 96 * 5 * 5,  # 895,795,200
    "conv3": 2 * 384 * 13 * 13 * 256 * 3 * 3,
    "conv4": 2 * 384 * 13 * 13 * 384 * 3 * 3,
    "conv5": 2 * 256 * 13 * 13 * 384 * 3 * 3,
    "fc6": 2 * 9216 * 4096,
    "fc7": 2 * 4096 * 4096,
    "fc8": 2 * 4096 * 101,
    "pool1": 96 * 27 * 27 * 9,
    "pool2": 256 * 13 * 13 * 9,
    "pool5": 256 * 6 * 6 * 9,
    "softmax": 101 * 5,
}


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    command = typer.Typer()
    command.command(epilog="Example: alexnet-build inspect --onnx models/alexnet/1/model.onnx")(inspect)
    return command


@pytest.fixture(scope="module")
def demo_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "model.onnx"
    onnx_from_network(load_weights("demo"), path)
    return path


def fp32(*dims: int) -> TensorShape:
    return TensorShape(dims, "FP32")


CONVOLUTION = Layer(
    "node_conv2d", "convolution", "Conv", "FP32", (fp32(2, 96, 27, 27),), (fp32(2, 256, 27, 27),),
    weights_bytes=2_458_624, flops=1_791_590_400, milliseconds=40.0,
)  # fmt: skip
RESHAPE = Layer("view", "conversion", "Reshape", "FP32", (fp32(2, 256, 6, 6),), (fp32(2, 9216),), 0, 0, 0.001)
PRODUCT = Layer(
    "node_linear", "fully connected", "Gemm", "FP32", (fp32(2, 9216),), (fp32(2, 4096),), 151_011_328, 150_994_944, 10.0
)
CEILINGS = Ceilings("measured", 10e9, {"FP32": 50e9})


def inspection(**changes: object) -> Inspection:
    layers = (CONVOLUTION, RESHAPE, PRODUCT)
    values: dict[str, object] = {
        "source": "model.onnx", "engine": "An engine 1.0", "device": "a processor, 2 threads", "image_size": 227,
        "classes": 3, "repeats": 5, "timings": (Timing(1, 30.0, 35.5, 40.25), Timing(2, 51.0, 60.0, 39.5)),
        "layers": {1: layers, 2: layers}, "memory": {"weights": 153_469_952}, "facts": {"nodes": "3"},
        "ceilings": CEILINGS,
    }  # fmt: skip
    return Inspection(**(values | changes))  # type: ignore[arg-type]


# arithmetic


def test_intensity_is_operations_over_what_must_be_moved() -> None:
    moved = 4 * (2 * 96 * 27 * 27 + 2 * 256 * 27 * 27) + 2_458_624
    assert CONVOLUTION.moved_bytes == moved
    assert CONVOLUTION.intensity == 1_791_590_400 / moved
    assert CONVOLUTION.flops_per_s == 1_791_590_400 / 0.04
    assert CONVOLUTION.bytes_per_s == moved / 0.04
    assert (RESHAPE.intensity, RESHAPE.flops_per_s) == (None, None)


def test_a_shape_that_is_not_known_has_no_size() -> None:
    assert (TensorShape((-1, 3), "FP32").elements, TensorShape((-1, 3), "FP32").bytes) == (0, 0)
    assert TensorShape((2, 3), "").bytes == 0
    assert [TensorShape((2, 3), element).bytes for element in ("FP16", "INT8", "FP32")] == [12, 6, 24]


def test_the_roof_is_the_slope_of_memory_up_to_the_ridge() -> None:
    assert CEILINGS.roof(2.0, "FP32") == 20e9
    assert CEILINGS.roof(5.0, "FP32") == 50e9
    assert CEILINGS.roof(500.0, "FP32") == 50e9
    assert (CEILINGS.bound(4.9, "FP32"), CEILINGS.bound(5.0, "FP32")) == ("memory", "arithmetic")
    assert (CEILINGS.roof(2.0, "FP64"), CEILINGS.bound(2.0, "FP64")) == (None, "")


def test_bytes_of_pixels_are_under_the_roof_of_int8() -> None:
    ceilings = Ceilings("measured", 10e9, {"INT8": 200e9})
    assert ceilings.roof(1000.0, "UINT8") == 200e9


def test_measured_ceilings_are_those_of_the_precisions_that_torch_has_here() -> None:
    found = measured_ceilings(torch.device("cpu"), 1)
    assert sorted(found.flops_per_s) == ["FP32", "INT8"]
    assert min(found.flops_per_s.values()) > 1e9
    assert found.bytes_per_s > 1e8
    assert found.source == f"measured with torch {torch.__version__}, 1 thread"


def test_the_highest_of_two_measurements_counts() -> None:
    before, after = Ceilings("m", 10e9, {"FP32": 50e9, "INT8": 90e9}), Ceilings("m", 9e9, {"FP32": 60e9, "INT8": 80e9})
    assert highest(before, after, {"FP32", "FP8"}) == Ceilings("m", 10e9, {"FP32": 60e9})


def test_published_ceilings_are_found_by_the_whole_name_of_a_card() -> None:
    h100, h200 = published_ceilings("NVIDIA H100 80GB HBM3"), published_ceilings("NVIDIA H200")
    assert h100 is not None
    assert h200 is not None
    assert (h100.bytes_per_s, h200.bytes_per_s) == (3.35e12, 4.8e12)
    assert h100.flops_per_s["FP16"] == h200.flops_per_s["FP16"] == 989.5e12
    assert published_ceilings("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    assert published_ceilings("NVIDIA L4") != published_ceilings("NVIDIA L40S")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.1234, "0.123"), (0.9996, "1.00"), (9.996, "10.0"), (99.96, "100"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


def test_rates_have_a_prefix_and_short_times_are_microseconds() -> None:
    assert [with_prefix(value) for value in (75.14e9, 999.9e9, 1.979e15, 12.0)] == ["75.1 G", "1 T", "1.98 P", "12 "]
    assert (time_unit(0.5), time_unit(12.0)) == ((1e3, "µs"), (1.0, "ms"))


def test_short_names_count_layers_with_weights_as_the_paper_does() -> None:
    kinds = ("conversion", "convolution", "activation", "pooling", "convolution", "conversion", "conversion")
    kinds += ("fully connected", "softmax")
    layers = [Layer(str(index), kind, "", "", (), (), 0, 0) for index, kind in enumerate(kinds)]  # type: ignore[arg-type]
    assert short_names(layers) == [
        "convert0", "conv1", "relu1", "pool1", "conv2", "convert2", "convert2.2", "fc3", "softmax",
    ]  # fmt: skip


# timing


def test_percentile_is_the_nearest_rank() -> None:
    assert [percentile([3, 1, 2, 4], percent) for percent in (25, 50, 51, 99)] == [1, 2, 3, 4]


def test_timing_runs_each_way_as_often_as_asked(trained: TrainedNetwork) -> None:
    with DeviceSession(TorchEngine(trained, max_batch=2, device="cpu")) as session:
        found = timing(session, 2, repeats=3)
    assert (found.batch_size, found.device_ms, found.graph_ms) == (2, None, None)
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.images_per_s > 0
    assert [pixels.shape for pixels in random_pixels(227, 2)] == [(2, 227, 227, 3)] * 4


def test_torch_layers_are_every_operation_with_its_work(trained: TrainedNetwork) -> None:
    graph = ServingGraph(trained.network, trained.spec).eval()
    batches = [torch.from_numpy(pixels) for pixels in random_pixels(227, 2)]
    layers = timed_layers(graph, batches, repeats=2)
    named = dict(zip(short_names(layers), layers, strict=True))
    convolutions = [layer for layer in layers if layer.kind == "convolution"]
    assert [layer.flops for layer in convolutions] == [2 * FLOPS[f"conv{number}"] for number in range(1, 6)]
    assert named["conv2"].weights_bytes == 4 * (256 * 96 * 5 * 5 + 256)
    assert (named["pool2"].flops, named["softmax"].flops) == (2 * FLOPS["pool2"], 2 * 3 * 5)
    assert named["relu1"].flops == 2 * 96 * 55 * 55
    assert (named["conv2"].inputs, named["conv2"].outputs) == ((fp32(2, 96, 27, 27),), (fp32(2, 256, 27, 27),))
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(layer.milliseconds and layer.milliseconds > 0 for layer in layers)


def test_torch_layers_of_the_paper_s_two_groups_compute_half(trained: TrainedNetwork) -> None:
    spec = NetworkSpec("paper2012", ("a", "b"), grouped=True, local_response_norm=True)
    graph = ServingGraph(AlexNet2012(2, grouped=True, local_response_norm=True).eval(), spec).eval()
    batches = [torch.from_numpy(pixels) for pixels in random_pixels(227, 1)]
    named = {layer.name: layer for layer in timed_layers(graph, batches, repeats=1)}
    assert named["network_conv2"].flops == FLOPS["conv2"] // 2 == 447_897_600
    assert named["network_conv1"].flops == FLOPS["conv1"]
    norms = [layer for layer in named.values() if layer.kind == "normalisation"]
    assert [layer.flops for layer in norms] == [96 * 55 * 55 * 14, 256 * 27 * 27 * 14]


# the report


def test_table_is_aligned_and_folds_small_layers() -> None:
    assert table(inspection()).splitlines() == [
        "model.onnx",
        "An engine 1.0 on a processor, 2 threads",
        "",
        "batch  p50 ms  p99 ms  images/s",
        "─────  ──────  ──────  ────────",
        "    1    30.0    35.5      40.2",
        "    2    51.0    60.0      39.5",
        "",
        "layers; shares and rates at batch 2",
        "",
        "layer     operator  precision  output     weights MB  ms at 1  ms at 2   share  "
        "FLOP/s  FLOP/byte  of the roof  bound by",
        "────────  ────────  ─────────  ─────────  ──────────  ───────  ───────  ──────  "
        "──────  ─────────  ───────────  ──────────",
        "conv1     Conv      FP32       256×27×27        2.46     40.0     40.0   80.0%  "
        "44.8 G        397          90%  arithmetic",
        "fc2       Gemm      FP32       4096           151.01     10.0     10.0   20.0%  "
        "15.1 G      0.999         151%  memory",
        "1 other                                                 0.001    0.001    0.0%",
        "together                                                 50.0     50.0  100.0%",
        "",
        "nodes                   3",
        "memory: weights  153.5 MB",
        "",
        "ceilings   memory  arithmetic",
        "────────  ───────  ───────────────",
        "measured  10 GB/s  FP32 50 GFLOP/s",
    ]


def test_table_of_a_gpu_has_graphs_tactics_and_published_ceilings() -> None:
    layers = (
        Layer("a", "convolution", "Cask", "FP16", (), (fp32(1, 2),), 0, 0, 0.5, tactic="sm90_xmma_" + "x" * 60),
        Layer("b", "other", "", "", (), (), 0, 0, None),
    )
    text = table(
        inspection(
            timings=(Timing(1, 0.5, 0.6, 2000.0, 0.4, 0.25), Timing(3, 0.7, 0.8, 4000.0, 0.6, None)),
            layers={1: layers},
            published=Ceilings("the datasheet", 3.35e12, {"FP16": 989.5e12}),
        )
    )
    assert "batch  p50 ms  p99 ms  images/s  on the GPU ms  with a CUDA graph ms" in text
    assert "    3   0.700   0.800     4,000          0.600                     –" in text
    assert "µs at 1" in text
    assert f"sm90_xmma_{'x' * 37}…" in text
    assert "the datasheet  3.35 TB/s  FP16 990 TFLOP/s" in text


def test_json_has_every_layer_at_every_batch_size() -> None:
    content = json.loads(as_json(inspection()))
    assert [batch["batch_size"] for batch in content["batches"]] == [1, 2]
    first = content["batches"][0]
    assert (first["p50_ms"], first["p99_ms"], first["images_per_s"], first["graph_ms"]) == (30.0, 35.5, 40.25, None)
    assert [layer["label"] for layer in first["layers"]] == ["conv1", "convert1", "fc2"]
    assert first["layers"][0] == {
        "label": "conv1", "name": "node_conv2d", "kind": "convolution", "operator": "Conv", "precision": "FP32",
        "inputs": "FP32[2,96,27,27]", "outputs": "FP32[2,256,27,27]", "weights_bytes": 2458624,
        "moved_bytes": CONVOLUTION.moved_bytes, "flops": 1791590400, "milliseconds": 40.0,
        "flops_per_s": 44789760000.0, "bytes_per_s": CONVOLUTION.bytes_per_s,
        "flops_per_byte": CONVOLUTION.intensity, "roof_flops_per_s": 50e9, "tactic": "", "stream": 0,
    }  # fmt: skip
    assert content["memory_bytes"] == {"weights": 153469952}
    assert content["ceilings"] == {"source": "measured", "bytes_per_s": 10e9, "flops_per_s": {"FP32": 50e9}}
    assert content["published_ceilings"] is None


def test_write_files_makes_numbers_and_pictures(tmp_path: Path) -> None:
    output = tmp_path / "runs" / "inspect"
    write_files(output, inspection())
    assert sorted(path.name for path in output.iterdir()) == [
        "inspect.json", "layers.csv", "layers.png", "roofline.png", "throughput.png",
    ]  # fmt: skip
    assert json.loads((output / "inspect.json").read_text()) == json.loads(as_json(inspection()))
    rows = list(csv.DictReader((output / "layers.csv").open()))
    assert [(row["batch_size"], row["label"], row["flops"]) for row in rows] == [
        (size, label, flops)
        for size in ("1", "2")
        for label, flops in (("conv1", "1791590400"), ("convert1", "0"), ("fc2", "150994944"))
    ]
    for path in output.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 300


def test_batch_sizes_are_those_that_an_engine_takes() -> None:
    def sizes(wanted: tuple[int, ...] | None, largest: int) -> tuple[int, ...]:
        return InspectOptions(wanted, 1, 1).sizes_within(1, largest, "model.plan")

    assert sizes(None, 256) == (1, 8, 32, 64)
    assert sizes(None, 32) == (1, 8, 32)
    assert InspectOptions(None, 1, 1).sizes_within(2, 4, "model.plan") == (4,)
    assert sizes((2, 16), 16) == (2, 16)
    with pytest.raises(
        EngineError, match=r"model\.plan takes batches of 1 to 16, and not of 32, 64; give --batch-sizes"
    ):
        sizes((8, 32, 64), 16)


# the command, for real


def test_inspect_shows_what_onnx_runtime_makes_of_the_demo_network(
    app: typer.Typer, demo_onnx: Path, tmp_path: Path
) -> None:
    arguments = ["--onnx", str(demo_onnx), "--batch-sizes", "1,2", "--repeats", "2", "--threads", "1"]
    arguments += ["--format", "json", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "inspect.json").read_text()) == content
    assert (content["image_size"], content["classes"], content["repeats"]) == (227, 101, 2)
    assert content["device"].endswith(", 1 thread")
    for batch in content["batches"]:
        layers = {layer["label"]: layer for layer in batch["layers"]}
        size = batch["batch_size"]
        assert {name: layers[name]["flops"] for name in FLOPS} == {name: size * flops for name, flops in FLOPS.items()}
        assert all(layers[name]["milliseconds"] > 0 for name in FLOPS)
        # the profiler's layers and the session without it are the same work
        together = sum(layer["milliseconds"] for layer in batch["layers"])
        assert 0.2 < together / batch["p50_ms"] < 5
    weights = sum(layer["weights_bytes"] for layer in content["batches"][0]["layers"])
    assert content["memory_bytes"]["weights"] == weights
    assert 58_695_000 * 4 < weights < demo_onnx.stat().st_size  # 58,695,077 parameters, a few rounded up
    assert layers["fc6"]["weights_bytes"] == 4 * (9216 * 4096 + 4096)
    assert "profiling the nodes" in done.stderr


def test_inspect_of_weights_runs_torch(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["--weights", "demo", "--batch-sizes", "1", "--repeats", "1"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("demo (")
    assert lines[1].startswith(f"torch {torch.__version__}, fp32 on ")
    assert any(line.split()[:5] == ["conv2", "Conv2d", "FP32", "256×27×27", "2.46"] for line in lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU; what is said without one is tested elsewhere")
def test_inspect_of_a_plan_without_a_gpu_says_what_the_plan_is(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_bytes(b"a plan")
    (tmp_path / "manifest.json").write_text(
        '{"compute_capability": "9.0", "builder_version": "11.3.0.99", "command": "the command"}'
    )
    with pytest.raises(MissingDependencyError) as raised:
        CliRunner().invoke(app, ["--plan", str(tmp_path / "model.plan")], catch_exceptions=False)
    assert str(raised.value) == (
        f"{tmp_path / 'model.plan'} is a TensorRT plan, which runs on an NVIDIA GPU; torch finds none here. By its "
        "manifest it was built for compute capability 9.0 and TensorRT 11.3.0.99. Build it again on this machine with: "
        "the command"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--weights", "demo", "--onnx", __file__],
        ["--onnx", "no-such-file.onnx"],
        ["--weights", "demo", "--batch-sizes", "1,two"],
        ["--weights", "demo", "--batch-sizes", "0"],
        ["--weights", "demo", "--repeats", "0"],
        ["--onnx", __file__, "--precision", "fp16"],
        ["--weights", "demo", "--trust"],
    ],
)
def test_wrong_usage_of_inspect_exits_with_2(app: typer.Typer, arguments: list[str]) -> None:
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert refused.stdout == ""


def test_inspect_and_sessions_are_imported_without_heavy_libraries() -> None:
    script = (
        "import sys, alexnet_build.cli_inspect, alexnet_build.inference, alexnet_build.insight.table, "
        "alexnet_build.insight.report\n"
        "print(sorted(set(sys.modules) & {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'matplotlib'}))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("[]\n", "")


def test_a_session_of_the_demo_network_has_its_sizes(demo_onnx: Path) -> None:
    with OnnxSession(demo_onnx, threads=1) as session:
        assert (session.image_size, session.classes, session.max_batch) == (227, 101, 64)
