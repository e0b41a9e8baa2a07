from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from alexnet_build.errors import BuildError, EngineError
from alexnet_build.inference import Session, open_session
from alexnet_build.inference.device_session import DeviceSession, graph_batch_sizes_of, rows_to_run
from alexnet_build.inference.onnx_session import OnnxSession
from alexnet_build.inference.plan_session import PlanSession, plan_described
from alexnet_build.inference.selfcheck import check_slot
from alexnet_build.inference.slots import HostSlot
from alexnet_build.inference.torch_engine import TorchEngine
from alexnet_build.network import ServingGraph
from alexnet_build.onnx_from_network import onnx_from_network
from alexnet_build.training.evaluate import exact_fp32
from alexnet_build.weights import TrainedNetwork
from torch import Tensor

ROOT = Path(__file__).parents[3]

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: CUDA graphs and streams need one")


class BrightnessEngine:
    """Answers each image, of 2 by 2 pixels, with its first byte; so an answer tells whose it is."""

    device, image_size, classes, source = torch.device("cpu"), 2, 1, "brightness"

    def __init__(
        self, *, max_batch: int = 4, min_batch: int = 1, before: Callable[[Tensor], None] | None = None
    ) -> None:
        self.max_batch, self.min_batch = max_batch, min_batch
        self.before = before
        self.sizes: list[int] = []

    def enqueuer(self, captured: Sequence[int]) -> BrightnessEngine:
        return self

    def enqueue(self, pixels: Tensor, probabilities: Tensor, stream: object) -> None:
        if self.before is not None:
            self.before(pixels)
        self.sizes.append(len(pixels))
        probabilities[:, 0] = pixels[:, 0, 0, 0]


def images(*brightness: int) -> np.ndarray:
    """(N, 2, 2, 3) uint8, each of one value."""
    return np.broadcast_to(np.array(brightness, np.uint8).reshape(-1, 1, 1, 1), (len(brightness), 2, 2, 3)).copy()


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """(21, 227, 227, 3) uint8 of different brightness, answered differently."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (21, 227, 227, 3))
    return (noise * np.linspace(0.1, 1, 21).reshape(-1, 1, 1, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(trained: TrainedNetwork, photographs: np.ndarray) -> np.ndarray:
    """(21, 3) float32: torch's answers to them."""
    with torch.inference_mode():
        answers = ServingGraph(trained.network, trained.spec).eval()(torch.from_numpy(photographs)).numpy()
    assert np.abs(answers[:, None] - answers[None]).max(2)[~np.eye(21, dtype=bool)].min() > 1e-4
    return answers


@pytest.fixture(scope="module")
def onnx_file(trained: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx_from_network(trained, path)
    return path


@pytest.fixture(scope="module")
def open_one(trained: TrainedNetwork, onnx_file: Path) -> Callable[[str], Session]:
    """A new session of a kind, for batches of up to 8."""

    def opened(kind: str) -> Session:
        if kind == "onnx":
            return OnnxSession(onnx_file, threads=1, max_batch=8)
        return DeviceSession(TorchEngine(trained, max_batch=8, device="cpu"))

    return opened


@pytest.fixture(scope="module", params=["onnx", "torch"])
def session(request: pytest.FixtureRequest, open_one: Callable[[str], Session]) -> Iterator[Session]:
    with open_one(request.param) as opened:
        yield opened


# answers


@pytest.mark.parametrize("count", [1, 3, 8, 9, 21])
def test_infer_answers_a_batch_of_any_size_as_torch_does(
    session: Session, photographs: np.ndarray, expected: np.ndarray, count: int
) -> None:
    answer = session.infer(photographs[:count])
    assert (answer.dtype, answer.shape) == (np.float32, (count, 3))
    np.testing.assert_allclose(answer, expected[:count], atol=1e-5)


def test_submitted_batches_keep_their_answers_in_whatever_order_they_are_read(
    session: Session, photographs: np.ndarray, expected: np.ndarray
) -> None:
    ranges = [slice(0, 3), slice(3, 4), slice(4, 12), slice(12, 14), slice(14, 21)]
    pending = [session.submit(photographs[each]) for each in ranges]
    for each, batch in reversed(list(zip(ranges, pending, strict=True))):
        np.testing.assert_allclose(batch.result(timeout_s=60), expected[each], atol=1e-5)
        assert batch.done()
    np.testing.assert_array_equal(pending[0].result(), pending[0].result())


def test_pixels_may_be_changed_once_submit_has_returned(
    session: Session, photographs: np.ndarray, expected: np.ndarray
) -> None:
    pixels = photographs[:2].copy()
    pending = session.submit(pixels)
    pixels[:] = 0
    np.testing.assert_allclose(pending.result(), expected[:2], atol=1e-5)


def test_a_session_answers_several_threads_at_once(
    session: Session, photographs: np.ndarray, expected: np.ndarray
) -> None:
    def ask(seed: int) -> None:
        for start in np.random.default_rng(seed).integers(0, 12, 4):
            rows = slice(int(start), int(start) + 2 + seed)
            np.testing.assert_allclose(session.infer(photographs[rows]), expected[rows], atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[::2], np.s_[:, ::-1]])
def test_pixels_need_not_be_contiguous(session: Session, photographs: np.ndarray, view: object) -> None:
    pixels = photographs[:6][view]  # type: ignore[index]
    np.testing.assert_allclose(session.infer(pixels), session.infer(np.ascontiguousarray(pixels)), atol=1e-6)


def test_pixels_may_be_read_only(session: Session, photographs: np.ndarray, expected: np.ndarray) -> None:
    pixels = photographs[:3].copy()
    pixels.flags.writeable = False
    np.testing.assert_allclose(session.submit(pixels).result(), expected[:3], atol=1e-5)


# refusals


@pytest.mark.parametrize(
    ("pixels", "described"),
    [
        (np.zeros((2, 227, 227, 3), np.float32), r"float32 \(2, 227, 227, 3\)"),
        (np.zeros((227, 227, 3), np.uint8), r"uint8 \(227, 227, 3\)"),
        (np.zeros((1, 3, 227, 227), np.uint8), r"uint8 \(1, 3, 227, 227\)"),
        (np.zeros((0, 227, 227, 3), np.uint8), r"uint8 \(0, 227, 227, 3\)"),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(session: Session, pixels: np.ndarray, described: str) -> None:
    message = rf"pixels are {described}; expected uint8 \(N, 227, 227, 3\) with N at least 1"
    for ask in (session.infer, session.submit):
        with pytest.raises(ValueError, match=message):
            ask(pixels)


def test_submit_refuses_a_batch_above_the_largest(session: Session, photographs: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a batch of 9 is above the largest of this session, 8; infer\(\) splits"):
        session.submit(photographs[:9])


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_closed_session_keeps_its_answers_and_takes_no_more(
    open_one: Callable[[str], Session], photographs: np.ndarray, expected: np.ndarray, kind: str
) -> None:
    session = open_one(kind)
    pending = session.submit(photographs[:2])
    session.close()
    session.close()
    np.testing.assert_allclose(pending.result(), expected[:2], atol=1e-5)
    for ask in (session.infer, session.submit):
        with pytest.raises(EngineError, match="is closed; open another one"):
            ask(photographs[:2])


def test_onnx_session_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no graph")
    with pytest.raises(EngineError, match=r"ONNX Runtime cannot load .*m\.onnx"):
        OnnxSession(tmp_path / "m.onnx")


@pytest.mark.parametrize("batch", ["N", 4])
def test_onnx_session_refuses_other_inputs_and_fixed_batches(tmp_path: Path, batch: str | int) -> None:
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, [batch, 4])], [value("y", 1, [batch, 4])])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9),
        str(tmp_path / "m.onnx"),
    )
    with pytest.raises(EngineError, match=r"has x tensor\(float\).*expected PIXELS tensor\(uint8\) \[N, S, S, 3\]"):
        OnnxSession(tmp_path / "m.onnx")


# the ring of slots, with an engine that tells whose answer it gives


def test_a_batch_has_its_own_rows_of_a_slot_that_had_a_larger_one() -> None:
    with DeviceSession(BrightnessEngine(), slots=1) as session:
        assert session.infer(images(1, 2, 3, 4)).ravel().tolist() == [1, 2, 3, 4]
        assert session.infer(images(5)).ravel().tolist() == [5]


def test_a_batch_below_the_smallest_is_filled_up() -> None:
    engine = BrightnessEngine(min_batch=3)
    with DeviceSession(engine) as session:
        engine.sizes.clear()
        assert session.infer(images(7, 8)).ravel().tolist() == [7, 8]
        assert engine.sizes == [3]


def test_as_many_batches_run_at_once_as_there_are_slots() -> None:
    met = threading.Barrier(3, timeout=30)  # broken unless three batches are in the engine at the same time
    engine = BrightnessEngine()
    with DeviceSession(engine, slots=3) as session:
        engine.before = lambda pixels: met.wait() and None
        pending = [session.submit(images(value)) for value in (1, 2, 3)]
        assert [each.result(timeout_s=30).item() for each in pending] == [1, 2, 3]


def test_no_more_batches_run_at_once_than_there_are_slots() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def count(pixels: Tensor) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1

    engine = BrightnessEngine()
    with DeviceSession(engine, slots=2) as session:
        engine.before = count
        pending = [session.submit(images(value)) for value in range(50)]  # none is read before all are submitted
        assert [each.result().item() for each in pending] == list(range(50))
    assert most <= 2


def test_a_result_that_is_not_there_in_time_can_be_asked_for_again() -> None:
    let_go = threading.Event()
    engine = BrightnessEngine()
    with DeviceSession(engine) as session:
        engine.before = lambda pixels: let_go.wait(30) and None
        pending = session.submit(images(9))
        assert not pending.done()
        with pytest.raises(TimeoutError, match="has not been answered yet"):
            pending.result(timeout_s=0.01)
        let_go.set()
        assert pending.result(timeout_s=30).item() == 9
        assert pending.done()


def test_an_error_arrives_at_its_result_and_its_slot_is_used_again() -> None:
    def refuse_seven(pixels: Tensor) -> None:
        if pixels[0, 0, 0, 0] == 7:
            raise EngineError("seven is refused")

    engine = BrightnessEngine()
    with DeviceSession(engine, slots=1) as session:
        engine.before = refuse_seven
        refused, fine = session.submit(images(7)), session.submit(images(8))
        assert fine.result().item() == 8
        assert refused.done()
        for _ in range(2):
            with pytest.raises(EngineError, match="seven is refused"):
                refused.result()
        with pytest.raises(EngineError, match="seven is refused"):
            session.infer(images(1, 2, 3, 4, 7))


def test_close_waits_for_what_is_in_flight() -> None:
    engine = BrightnessEngine()
    session = DeviceSession(engine, slots=2)
    let_go = threading.Event()
    engine.before = lambda pixels: let_go.wait(30) and None
    pending = [session.submit(images(value)) for value in (3, 4)]
    closing = threading.Thread(target=session.close)
    closing.start()
    let_go.set()
    closing.join(30)
    assert not closing.is_alive()
    assert [each.result().item() for each in pending] == [3, 4]


def test_a_borrowed_slot_is_nobody_elses_and_comes_back() -> None:
    with DeviceSession(BrightnessEngine(), slots=1) as session:
        with session.borrowed_slot() as slot:
            slot.fill(images(6))
            slot.launch(1, graphed=False)
            slot.wait(None)
            assert slot.answer(1).item() == 6
            assert slot.milliseconds() > 0
        assert session.infer(images(5)).item() == 5


# what is proven before a session answers


def test_an_engine_that_leaves_rows_unwritten_is_refused() -> None:
    class FirstRowOnly(BrightnessEngine):
        def enqueue(self, pixels: Tensor, probabilities: Tensor, stream: object) -> None:
            probabilities[0] = 1

    with pytest.raises(EngineError, match=r"brightness left 3 of 4 rows of its answer unwritten.*is row 1"):
        DeviceSession(FirstRowOnly())


class GraphSlot(HostSlot):
    """Plays what a CUDA graph can do: ``replay`` is called in place of the engine."""

    def __init__(self, replay: Callable[[GraphSlot, int], None]) -> None:
        super().__init__(BrightnessEngine())
        self.replay = replay
        self.recorded: list[int] = []

    def capture(self, batch: int) -> None:
        self.recorded.append(batch)

    def launch(self, batch: int, *, graphed: bool) -> None:
        if graphed:
            self.replay(self, batch)
        else:
            super().launch(batch, graphed=False)


def test_graphs_that_answer_as_the_engine_does_are_kept() -> None:
    slot = GraphSlot(lambda slot, batch: slot.launch(batch, graphed=False))
    check_slot(slot, (1, 4))
    assert slot.recorded == [1, 4]
    slot.close()


def test_a_graph_that_computes_nothing_is_refused() -> None:
    slot = GraphSlot(lambda slot, batch: None)
    with pytest.raises(EngineError, match="unwritten or not numbers, from a CUDA graph"):
        check_slot(slot, (4,))
    slot.close()


def test_a_graph_that_answers_another_input_is_refused() -> None:
    def stale(slot: GraphSlot, batch: int) -> None:
        slot.host_probabilities[:batch] = 0  # the answer to the first input, black, for every one

    slot = GraphSlot(stale)
    with pytest.raises(
        EngineError, match=r"the CUDA graph of brightness for a batch of 4 answers other than the engine"
    ):
        check_slot(slot, (4,))
    slot.close()


@pytest.mark.parametrize(
    ("count", "graphs", "expected"),
    [
        (1, (1, 2, 4, 8, 16, 32, 64), (1, True)),
        (3, (1, 2, 4, 8, 16, 32, 64), (4, True)),
        (9, (1, 2, 4, 8, 16, 32, 64), (16, True)),
        (17, (1, 2, 4, 8, 16, 32, 64), (17, False)),
        (32, (1, 2, 4, 8, 16, 32, 64), (32, True)),
        (33, (1, 2, 4, 8, 16, 32, 64), (33, False)),
        (3, (1, 64), (3, False)),
        (3, (), (3, False)),
    ],
)
def test_rows_to_run_fills_small_batches_up_to_a_graph(
    count: int, graphs: tuple[int, ...], expected: tuple[int, bool]
) -> None:
    assert rows_to_run(count, 1, graphs) == expected


def test_rows_to_run_is_at_least_the_smallest_batch() -> None:
    assert rows_to_run(2, 5, ()) == (5, False)
    assert rows_to_run(2, 5, (5, 8)) == (5, True)


def test_graph_batch_sizes_are_powers_of_two_and_the_largest() -> None:
    gpu = SimpleNamespace(device=torch.device("cuda"), min_batch=2, max_batch=24, source="x")
    assert graph_batch_sizes_of(gpu, None) == (2, 4, 8, 16, 24)
    assert graph_batch_sizes_of(gpu, [24, 3, 3]) == (3, 24)
    assert graph_batch_sizes_of(gpu, ()) == ()
    with pytest.raises(ValueError, match=r"for a batch of \[1, 25\]; expected sizes from 2 to 24"):
        graph_batch_sizes_of(gpu, (1, 8, 25))


def test_there_are_no_graphs_on_a_cpu(trained: TrainedNetwork) -> None:
    assert graph_batch_sizes_of(BrightnessEngine(), None) == ()
    with pytest.raises(ValueError, match="expected none on a CPU"):
        DeviceSession(BrightnessEngine(), graph_batch_sizes=(1,))
    with pytest.raises(EngineError, match="no fast FP16 on a CPU"):
        TorchEngine(trained, precision="fp16", device="cpu")


def test_the_example_of_the_documentation_runs(onnx_file: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "insight.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "models/alexnet/1").mkdir(parents=True)
    (tmp_path / "models/alexnet/1/model.onnx").symlink_to(onnx_file)
    (tmp_path / "build").symlink_to(ROOT / "build")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, *parts = [re.findall(r"\d+", line) for line in done.stdout.splitlines()]
    assert len(whole) == 5
    assert [index for part in parts for index in part] == whole


# on a GPU


@on_a_gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("graphs", [None, ()])
def test_alternating_inputs_get_their_own_answers_on_a_gpu(
    trained: TrainedNetwork,
    photographs: np.ndarray,
    expected: np.ndarray,
    precision: str,
    graphs: tuple[int, ...] | None,
) -> None:
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    engine = TorchEngine(trained, max_batch=10, precision=precision, device="cuda")  # type: ignore[arg-type]
    with exact_fp32(), DeviceSession(engine, slots=3, graph_batch_sizes=graphs) as session:
        for count in range(1, 11):
            for start in (0, 11, 0, 11):
                rows = slice(start, start + count)
                np.testing.assert_allclose(session.infer(photographs[rows]), expected[rows], atol=tolerance)
        pending = [(start, session.submit(photographs[start : start + 2])) for start in [*range(19), *range(19)]]
        for start, batch in reversed(pending):
            np.testing.assert_allclose(batch.result(timeout_s=60), expected[start : start + 2], atol=tolerance)
        np.testing.assert_allclose(session.infer(photographs), expected, atol=tolerance)


@on_a_gpu
def test_an_engine_that_cannot_be_recorded_is_named_on_a_gpu() -> None:
    class Waiting(BrightnessEngine):
        device = torch.device("cuda", 0)

        def enqueue(self, pixels: Tensor, probabilities: Tensor, stream: object) -> None:
            torch.cuda.current_stream().synchronize()
            probabilities[:, 0] = pixels[:, 0, 0, 0]

    with pytest.raises(EngineError, match="brightness cannot be recorded into a CUDA graph with a batch of 1"):
        DeviceSession(Waiting())


# opening


def test_open_session_chooses_by_the_ending(onnx_file: Path, photographs: np.ndarray, expected: np.ndarray) -> None:
    with open_session(str(onnx_file), threads=1, max_batch=2) as session:
        assert isinstance(session, OnnxSession)
        assert (session.max_batch, session.classes, session.image_size) == (2, 3, 227)
        np.testing.assert_allclose(session.infer(photographs[:5]), expected[:5], atol=1e-5)


def test_open_session_refuses_what_it_cannot_open(tmp_path: Path, onnx_file: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "model.plan").write_bytes(b"x")
    with pytest.raises(EngineError, match=r"there is no file .*nothing\.onnx; expected a \.plan or an \.onnx file"):
        open_session(tmp_path / "nothing.onnx")
    with pytest.raises(EngineError, match=r"unknown ending; expected \.plan or \.engine for TensorRT, or \.onnx"):
        open_session(tmp_path / "model.bin")
    with pytest.raises(EngineError, match="slots, trust cannot be set for an ONNX file"):
        open_session(onnx_file, slots=2, trust=True)
    with pytest.raises(EngineError, match="threads cannot be set for a plan"):
        open_session(tmp_path / "model.plan", threads=2)


MANIFEST = {
    "file": "model.plan", "builder_version": "10.16.1.11", "compute_capability": "8.6",
    "hardware_compatibility": "none", "version_compatible": False,
    "command": "alexnet-build repository --engine tensorrt --output models",
    "other_gpus": [
        {
            "file": "model_sm89.plan", "builder_version": "11.3.0.99", "compute_capability": "8.9",
            "hardware_compatibility": "ampere_plus", "version_compatible": True, "command": "make it",
        }
    ],
}  # fmt: skip


def test_a_plan_that_does_not_load_is_described_by_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "model.plan").write_bytes(b"for another GPU")
    described = (
        "By its manifest it was built for compute capability 8.6 and TensorRT 10.16.1.11. Build it again on this "
        "machine with: alexnet-build repository --engine tensorrt --output models"
    )
    assert plan_described(tmp_path / "model.plan") == described
    assert plan_described(tmp_path / "model_sm89.plan") == (
        "By its manifest it was built for compute capability 8.9 and TensorRT 11.3.0.99; it runs on compute capability "
        "8.0 and newer; it is version-compatible and holds code for this machine's processor: open it with trust=True. "
        "Build it again on this machine with: make it"
    )
    # without a GPU, without TensorRT, or with both: it is never loaded, and the reason comes with the description
    with pytest.raises(BuildError) as raised:
        PlanSession(tmp_path / "model.plan")
    assert str(raised.value).endswith(described)


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"file": "another.plan"}'])
def test_a_plan_without_a_manifest_is_described_by_what_to_do(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert plan_described(tmp_path / "model.plan") == (
        "No manifest.json beside it says what it was built for. Build one for this machine with: "
        "alexnet-build repository --engine tensorrt --output DIR"
    )


def test_a_manifest_that_says_little_is_enough(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"compute_capability": null}')
    assert plan_described(tmp_path / "model.plan").startswith(
        "By its manifest it was built for an unknown GPU and TensorRT. Build it again"
    )
