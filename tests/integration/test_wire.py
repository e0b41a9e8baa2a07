"""docs/wire.md against the real server: every row of its table of errors, and what it says of the rest."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wire.md").read_text()
CAT = (ROOT / "build" / "alexnet_build" / "photographs" / "cat.jpg").read_bytes()
DEADLINE_S = 30
COLON_LABEL = "cougar: face"  # as no network of ours has it, and as anybody's may
SECRET = {"key": "hush"}
TRACE_IDS = {"gRPC": "0af7651916cd43dd8448eb211c80319c", "HTTP": "1bf7651916cd43dd8448eb211c80319d"}


def png(width: int, height: int) -> bytes:
    """A black image, of few bytes however many pixels."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def bytes_elements(elements: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


@dataclass(frozen=True)
class Wanted:
    """A request, as it goes over either protocol; the defaults are right."""

    images: tuple[bytes, ...] = (CAT,)
    shape: tuple[int, ...] | None = None  # [N, 1]
    raw: bytes | None = None  # the images, each after its length
    name: str = "IMAGE"
    datatype: str = "BYTES"
    output: str = "PROBABILITIES"
    class_count: int | None = 3
    model: str = "classifier"
    version: str = ""
    timeout_us: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        return bytes_elements(self.images) if self.raw is None else self.raw

    def over_grpc(self) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self.model, model_version=self.version)
        request.inputs.add(name=self.name, datatype=self.datatype, shape=self.shape or (len(self.images), 1))
        output = request.outputs.add(name=self.output)
        if self.class_count is not None:
            output.parameters["classification"].int64_param = self.class_count
        if self.timeout_us is not None:
            request.parameters["timeout"].int64_param = self.timeout_us
        request.raw_input_contents.append(self.data())
        return request

    def over_http(self) -> tuple[str, bytes, dict[str, str]]:
        """Path, body and headers."""
        size = {"binary_data_size": len(self.data())}
        shape = self.shape or (len(self.images), 1)
        image = {"name": self.name, "datatype": self.datatype, "shape": shape, "parameters": size}
        classification = {} if self.class_count is None else {"classification": self.class_count}
        output = {"name": self.output, "parameters": classification}
        timeout = {} if self.timeout_us is None else {"timeout": self.timeout_us}
        head = json.dumps({"parameters": timeout, "inputs": [image], "outputs": [output]}).encode()
        version = f"/versions/{self.version}" if self.version else ""
        headers = {"Inference-Header-Content-Length": str(len(head))} | self.headers
        return f"/v2/models/{self.model}{version}/infer", head + self.data(), headers


def stub(server: Any) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(grpc.insecure_channel(server.grpc_url))


def grpc_error(call: Any, request: Any, **how: Any) -> tuple[str, str]:
    """Code and message; ("OK", "") where there is none."""
    try:
        call(request, **{"timeout": DEADLINE_S} | how)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def http_answer(server: Any, path: str, body: bytes | None = None, headers: dict[str, str] = {}) -> tuple[int, bytes]:  # noqa: B006
    connection = http.client.HTTPConnection(server.http_url.removeprefix("http://"), timeout=DEADLINE_S)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def http_error(*asked: Any) -> tuple[str, str]:
    """Status and message; the message of every error is JSON, whatever its Content-Type says."""
    status, body = http_answer(*asked)
    return str(status), "" if status == 200 else json.loads(body)["error"]


FAULTS = {
    "not an image": Wanted((b"hello",)),
    "an empty image": Wanted((b"",)),
    "a damaged or truncated image": Wanted((CAT[:5000],)),
    "an image of too many pixels": Wanted((png(20_000, 10_000),)),
    "bad images among several": Wanted((CAT, b"hello", CAT, CAT[:5000])),
    "more images than `max_batch_size`": Wanted((CAT,) * 65),
    "an input of another name": Wanted(name="PICTURE"),
    "another datatype": Wanted(datatype="UINT8", shape=(1, len(CAT)), raw=CAT),
    "a shape that is not `[N, 1]`": Wanted(shape=(1,)),
    "other than N images": Wanted((CAT, CAT), shape=(1, 1)),
    "a length that is missing or wrong": Wanted(raw=CAT),
    "an output of another name": Wanted(output="LOGITS"),
    "a negative `classification`": Wanted(class_count=-1),
    "an unknown model": Wanted(model="nope"),
    "an unknown version": Wanted(version="7"),
    "a version that is no number": Wanted(version="x"),
}
# These need more than one request: what happens is in the test that is named for it.
ELSEWHERE = {
    "JSON that cannot be parsed",
    "a head longer than the request",
    "an unknown method or path",
    "a queue that is full",
    "a `timeout` that passed in a queue",
    "a gRPC deadline that passed",
    "a model that is not loaded",
    "a restricted protocol without its key",
    "nobody at the address",
}


@dataclass(frozen=True)
class Row:
    """What the page says of one fault; "–" where a protocol does not have it."""

    grpc_code: str
    http_status: str
    grpc_words: str
    http_words: str


def rows() -> dict[str, Row]:
    found = {}
    for line in PAGE.split("## Errors")[1].split("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0] not in ("what is wrong", "---"):
            words = re.findall(r"`([^`]+)`", cells[3])
            found[cells[0]] = Row(cells[1].strip("`"), cells[2], words[0], words[-1])
    return found


def test_every_error_of_the_page_is_sent_and_every_one_sent_is_on_the_page() -> None:
    assert set(rows()) == set(FAULTS) | ELSEWHERE


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_has_the_codes_and_the_words_of_the_page(server: Any, fault: str) -> None:
    wanted, row = FAULTS[fault], rows()[fault]
    code, details = grpc_error(stub(server).ModelInfer, wanted.over_grpc())
    status, error = http_error(server, *wanted.over_http())
    assert (code, status) == (row.grpc_code, row.http_status)
    assert row.grpc_words in details
    assert row.http_words in error


def test_fault_of_the_http_request_itself_is_as_the_page_says(server: Any) -> None:
    path, body, _ = Wanted().over_http()
    for fault, asked in {
        "JSON that cannot be parsed": (path, b"{"),
        "a head longer than the request": (path, body, {"Inference-Header-Content-Length": "999999"}),
        "an unknown method or path": ("/v2/models/classifier/guess", b"{}"),
    }.items():
        status, error = http_error(server, *asked)
        assert (fault, status) == (fault, rows()[fault].http_status)
        assert rows()[fault].http_words in error


def test_fault_of_the_grpc_call_itself_is_as_the_page_says(server: Any) -> None:
    guess = grpc.insecure_channel(server.grpc_url).unary_unary("/inference.GRPCInferenceService/Guess")
    nobody = GRPCInferenceServiceStub(grpc.insecure_channel("127.0.0.1:1"))
    found = {
        "an unknown method or path": grpc_error(guess, b""),
        "a gRPC deadline that passed": grpc_error(stub(server).ModelInfer, Wanted().over_grpc(), timeout=0.001),
        "nobody at the address": grpc_error(nobody.ModelInfer, Wanted().over_grpc()),
    }
    for fault, (code, details) in found.items():
        assert (fault, code) == (fault, rows()[fault].grpc_code)
        assert rows()[fault].grpc_words in details or not details


def test_bad_images_are_named_by_position_from_0(server: Any) -> None:
    _, details = grpc_error(stub(server).ModelInfer, FAULTS["bad images among several"].over_grpc())
    assert re.findall(r"image \d of \d", details) == ["image 1 of 4", "image 3 of 4"]


def test_reply_holds_elements_or_probabilities_as_the_page_says(server: Any) -> None:
    ask = stub(server).ModelInfer
    best = ask(Wanted((CAT, CAT), class_count=2).over_grpc(), timeout=DEADLINE_S)
    assert (best.outputs[0].datatype, list(best.outputs[0].shape)) == ("BYTES", [2, 2])
    (length,) = struct.unpack_from("<I", best.raw_output_contents[0])
    assert re.fullmatch(rb"0\.\d{6}:25:cougar_face", best.raw_output_contents[0][4 : 4 + length])

    every = ask(Wanted((CAT, CAT), class_count=None).over_grpc(), timeout=DEADLINE_S)
    assert (every.outputs[0].datatype, list(every.outputs[0].shape)) == ("FP32", [2, 101])
    probabilities = struct.unpack("<202f", every.raw_output_contents[0])
    assert sum(probabilities[:101]) == pytest.approx(1, abs=1e-5)

    typed = Wanted().over_grpc()
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.bytes_contents.append(CAT)
    raw = Wanted().over_grpc()
    assert ask(typed, timeout=DEADLINE_S).raw_output_contents == ask(raw, timeout=DEADLINE_S).raw_output_contents


def test_class_count_of_0_is_an_error_over_grpc_and_none_over_http(server: Any) -> None:
    row, nothing = rows()["a negative `classification`"], Wanted(class_count=0)
    assert grpc_error(stub(server).ModelInfer, nothing.over_grpc())[0] == row.grpc_code
    status, body = http_answer(server, *nothing.over_http())
    assert (status, json.loads(body)["outputs"][0]["datatype"]) == (200, "FP32")


def test_request_that_the_page_shows_is_answered(server: Any) -> None:
    head_length, content_length, head = re.findall(
        r"POST \S+ HTTP/1.1\nInference-Header-Content-Length: (\d+)\nContent-Length: (\d+)\n\n(.*?)<2e 97 00 00>",
        PAGE,
        re.DOTALL,
    )[0]
    body = head.encode() + b"\x2e\x97\0\0" + CAT
    assert (int(head_length), int(content_length)) == (len(head), len(body))
    status, answer = http_answer(
        server, "/v2/models/classifier/infer", body, {"Inference-Header-Content-Length": head_length}
    )
    assert (status, json.loads(answer)["outputs"][0]["shape"]) == (200, [1, 3])


def test_class_count_above_all_classes_gives_every_label_once(server: Any) -> None:
    status, body = http_answer(server, *Wanted(class_count=100_000).over_http())
    elements = json.loads(body)["outputs"][0]["data"]
    labels = (server.repository / "alexnet" / "labels.txt").read_text().splitlines()
    assert status == 200
    assert {int(index): label for _, index, label in (element.split(":", 2) for element in elements)} == dict(
        enumerate(labels)
    )


def test_commands_of_the_page_do_what_it_shows(server: Any) -> None:
    blocks = re.findall(r"```sh\n(.*?)```\n+```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for command, shown in blocks:
        here = command.replace("http://localhost:8000", server.http_url)
        done = subprocess.run(["bash", "-c", here], cwd=ROOT, capture_output=True, text=True, check=True)
        assert without_probabilities(done.stdout) == without_probabilities(shown)


def without_probabilities(text: str) -> list[str]:
    """The words of a text but for its fractions, which differ between precisions and processors."""
    return [word for word in text.split() if not re.fullmatch(r"0\.\d+", word)]


def test_health_service_of_grpc_answers_serving(server: Any) -> None:
    check = grpc.insecure_channel(server.grpc_url).unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=DEADLINE_S) == b"\x08\x01"  # status, the first field: SERVING, 1


def test_limits_of_the_page_are_those_of_the_server(server: Any) -> None:
    config = stub(server).ModelConfig(pb.ModelConfigRequest(name="classifier"), timeout=DEADLINE_S).config
    assert f"`max_batch_size`, {config.max_batch_size} " in PAGE
    assert [step.model_name for step in config.ensemble_scheduling.step] == ["preprocess", "alexnet"]
    _, error = http_error(server, *FAULTS["an image of too many pixels"].over_http())
    (limit,) = re.findall(r"limit of (\d+) pixels", error)
    assert f"{int(limit):,} pixels" in PAGE


@pytest.fixture(scope="module")
def spans() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of OpenTelemetry traces: its address, and what came."""
    came: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{collector.server_port}/v1/traces", came
        collector.shutdown()


@pytest.fixture(scope="module")
def strict_server(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, spans: tuple[str, list[bytes]]
) -> Iterator[Any]:
    """A server with a bounded queue, a restricted protocol, traces, models by command, and a colon in a label."""
    from alexnet_server import running_server

    folder = tmp_path_factory.mktemp("strict") / "models"
    shutil.copytree(repository, folder, copy_function=os.link)
    rewrite(
        folder / "preprocess" / "config.pbtxt", "default_queue_policy {", "default_queue_policy { max_queue_size: 2"
    )
    rewrite(folder / "alexnet" / "labels.txt", "cougar_face", COLON_LABEL)
    flags = ["--model-control-mode=explicit", "--load-model=classifier"]
    flags += ["--grpc-restricted-protocol=statistics:key=hush", "--http-restricted-api=statistics:key=hush"]
    flags += ["--trace-config=mode=opentelemetry", "--trace-config=rate=1", "--trace-config=level=TIMESTAMPS"]
    flags += [f"--trace-config=opentelemetry,url={spans[0]}"]
    with running_server(folder, triton_flags=flags) as running:
        yield running


def rewrite(file: Path, old: str, new: str) -> None:
    """Replace a word in a file that may share its content with another."""
    text = file.read_text()
    assert text.count(old) == 1
    file.unlink()
    file.write_text(text.replace(old, new))


def occupy(server: Any, requests: int, waiting: int = 1) -> list[Any]:
    """Calls under way, each of some tenths of a second, too large to share a batch; some of them wait in the queue."""
    slow = Wanted((png(1000, 1000),) * 33).over_grpc()
    calls = [stub(server).ModelInfer.future(slow, timeout=DEADLINE_S) for _ in range(requests)]
    wait_for(lambda: pending(server) >= waiting)
    return calls


def pending(server: Any) -> float:
    """Requests that wait in the queue of preprocess, as the server's metrics have it."""
    with urllib.request.urlopen(server.metrics_url, timeout=DEADLINE_S) as metrics:
        text = metrics.read().decode()
    return float(re.findall(r'nv_inference_pending_request_count\{model="preprocess",.*\} (\S+)', text)[0])


def wait_for(condition: Callable[[], bool]) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < DEADLINE_S
        threading.Event().wait(0.01)


def test_full_queue_is_unavailable_and_those_before_are_answered(strict_server: Any) -> None:
    calls = occupy(strict_server, 6, waiting=2)
    over_http = http_error(strict_server, *Wanted().over_http())
    errors = [call.exception() for call in calls]
    row = rows()["a queue that is full"]
    refused = [error for error in errors if error]
    assert 1 <= len(refused) <= 3  # two are worked at, two wait, and a place may become free meanwhile
    assert {error.code().name for error in refused} == {row.grpc_code}
    assert all(row.grpc_words in error.details() for error in refused)
    assert over_http[0] == row.http_status
    assert row.http_words in over_http[1]


def test_timeout_passes_in_the_queue(server: Any) -> None:
    row, wanted = rows()["a `timeout` that passed in a queue"], Wanted(timeout_us=1000)
    calls = occupy(server, 6, waiting=3)
    code, details = grpc_error(stub(server).ModelInfer, wanted.over_grpc())
    assert all(call.exception() is None for call in calls)
    calls = occupy(server, 6, waiting=3)
    status, error = http_error(server, *wanted.over_http())
    assert all(call.exception() is None for call in calls)
    assert (code, status) == (row.grpc_code, row.http_status)
    assert row.grpc_words in details
    assert row.http_words in error


def test_restricted_protocol_asks_for_the_header_of_the_page(strict_server: Any) -> None:
    row = rows()["a restricted protocol without its key"]
    ask, request = stub(strict_server).ModelStatistics, pb.ModelStatisticsRequest(name="classifier")
    code, details = grpc_error(ask, request)
    assert (code, details) == (row.grpc_code, row.grpc_words)
    assert grpc_error(ask, request, metadata=[("triton-grpc-protocol-key", "hush")]) == ("OK", "")

    path = "/v2/models/classifier/stats"
    assert http_error(strict_server, path) == (row.http_status, row.http_words)
    assert http_answer(strict_server, path, None, SECRET)[0] == 200


def test_label_with_a_colon_is_whole_after_two_splits(strict_server: Any) -> None:
    _, body = http_answer(strict_server, *Wanted(class_count=1).over_http())
    (element,) = json.loads(body)["outputs"][0]["data"]
    assert element.split(":", 2)[1:] == ["25", COLON_LABEL]


def test_trace_goes_on_from_the_context_that_came(strict_server: Any, spans: tuple[str, list[bytes]]) -> None:
    context = {name: f"00-{trace_id}-b7ad6b7169203331-01" for name, trace_id in TRACE_IDS.items()}
    stub(strict_server).ModelInfer(
        Wanted().over_grpc(), timeout=DEADLINE_S, metadata=[("traceparent", context["gRPC"])]
    )
    http_answer(strict_server, *Wanted(headers={"traceparent": context["HTTP"]}).over_http())
    for trace_id in TRACE_IDS.values():
        wait_for(lambda trace_id=trace_id: any(trace_id.encode() in spans_sent for spans_sent in spans[1]))


def test_model_that_is_not_loaded_is_as_the_page_says(strict_server: Any) -> None:
    row = rows()["a model that is not loaded"]
    control = stub(strict_server)
    control.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="classifier"), timeout=DEADLINE_S)
    try:
        wait_for(lambda: not control.ModelReady(pb.ModelReadyRequest(name="classifier"), timeout=DEADLINE_S).ready)
        code, details = grpc_error(control.ModelInfer, Wanted().over_grpc())
        status, error = http_error(strict_server, *Wanted().over_http())
        assert (code, status) == (row.grpc_code, row.http_status)
        assert row.grpc_words in details
        assert row.http_words in error
    finally:
        control.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="classifier"), timeout=DEADLINE_S)
