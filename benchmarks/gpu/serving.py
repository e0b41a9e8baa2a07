"""The ensemble on the embedded Triton, images to probabilities, with a stand-in for the network's plan.

In: JPEG files and settings. Out: dictionaries of figures. Called by preprocessing_gpu.py. NVIDIA's perf_analyzer asks,
on cores of its own: the server and its models have the others.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alexnet_build
import psutil
from alexnet_build.configs import ServingSpec
from alexnet_build.repository import write_files
from alexnet_build.weights import load_weights
from alexnet_server import running_server
from google.protobuf import text_format
from perf_analyzer import PerfAnalyzerError, figures_from_report, pytriton_libraries, write_input_data
from tritonclient.grpc import model_config_pb2 as pb
from usage import cores_between, processes_of, read_clock

WEIGHTS = "demo"
WINDOWS = 3
TIMEOUT_S = 90
#: Pixels of requests in flight stay on the GPU: 150 KB each, many hundreds of them.
CUDA_POOL = "--cuda-memory-pool-byte-size=0:1073741824"
#: Requests that keep their memory instead of giving it back after each image; the default is 8.
REQUEST_POOL = "--grpc-infer-allocation-pool-size=512"
PINNED_POOL = "--pinned-memory-pool-byte-size=1073741824"


@dataclass(frozen=True)
class Setting:
    """How the preprocess model is served.

    Attributes:
        device: the config's DEVICE.
        instances: processes.
        hand_over: the config's HAND_OVER.
        batches: the config's GPU_BATCHES.
        stand_ins: processes of the stand-in. A plan needs one, in Triton's own process; each of these takes a core to
            copy pixels between processes.
        max_batch: largest batch of both models.
    """

    device: str
    instances: int
    hand_over: str = "host"
    batches: int = 2
    stand_ins: int = 3
    max_batch: int = 64

    def __str__(self) -> str:
        instances = f"{self.instances} instances" + f", {self.batches} at once" * (self.device == "gpu")
        return f"{self.device}, {instances}, pixels by {self.hand_over}, batch {self.max_batch}"


@dataclass(frozen=True)
class Question:
    """What is asked at once.

    Attributes:
        concurrency: requests under way.
        images: in each request.
        shared_memory: encoded images pass through shared memory instead of gRPC.
    """

    concurrency: int
    images: int = 1
    shared_memory: bool = False


def write_repository(folder: Path, setting: Setting, stand_in_device: str) -> None:
    """Write the repository that `alexnet-build repository` would, with the stand-in as its network."""
    trained = load_weights(WEIGHTS)
    spec = ServingSpec(
        "onnxruntime", trained.spec.image_size, trained.spec.classes, trained.spec.resize_short_side,
        max_batch=setting.max_batch, preprocess_instances=setting.instances,
        preprocess_device=setting.device,  # type: ignore[arg-type]
    )  # fmt: skip
    write_files(folder, spec, trained.spec)
    preprocess = read_config(folder, "preprocess")
    preprocess.parameters["HAND_OVER"].string_value = setting.hand_over
    preprocess.parameters["GPU_BATCHES"].string_value = str(setting.batches)
    write_config(folder, preprocess)
    alexnet = read_config(folder, "alexnet")
    alexnet.backend, alexnet.default_model_filename = "python", "model.py"
    alexnet.ClearField("model_warmup")
    alexnet.instance_group[0].CopyFrom(
        pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=setting.stand_ins)
    )
    alexnet.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"
    alexnet.parameters["STAND_IN_DEVICE"].string_value = stand_in_device
    alexnet.parameters["WEIGHTS"].string_value = WEIGHTS
    alexnet.parameters["SOURCES"].string_value = str(Path(alexnet_build.__file__).parents[1])
    write_config(folder, alexnet)
    version = folder / "alexnet" / "1"
    version.mkdir()
    (version / "model.py").write_bytes(Path(__file__).with_name("stand_in.py").read_bytes())


def read_config(folder: Path, model: str) -> Any:
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), pb.ModelConfig())


def write_config(folder: Path, config: Any) -> None:
    (folder / config.name / "config.pbtxt").write_text(text_format.MessageToString(config))


def measure_serving(
    folder: Path,
    setting: Setting,
    questions: Sequence[Question],
    jpegs: Sequence[Path],
    *,
    program: Path,
    generator_cores: set[int],
    seconds: float,
    stand_in_device: str,
) -> Iterator[dict[str, Any]]:
    """Start a server with a setting and ask it, one question after the other."""
    write_repository(folder / "models", setting, stand_in_device)
    input_data = folder / "input.json"
    write_input_data(list(jpegs), input_data)
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, everything - generator_cores or everything)
    flags = [CUDA_POOL, PINNED_POOL, REQUEST_POOL] if stand_in_device == "cuda" else []
    try:
        with running_server(folder / "models", triton_flags=flags, log=folder / "triton.log") as server:
            for question in questions:
                try:
                    yield ask(question, setting, server, input_data, program, generator_cores, seconds)
                except (PerfAnalyzerError, subprocess.TimeoutExpired) as error:
                    yield {"what": "serving", "setting": str(setting), "question": str(question), "error": str(error)}
    finally:
        os.sched_setaffinity(0, everything)
        for line in (folder / "triton.log").read_text(errors="replace").splitlines():
            if "preprocess_" in line and ": on the " in line:
                yield {"what": "log", "setting": str(setting), "line": line[-200:]}


def ask(
    question: Question, setting: Setting, server: Any, input_data: Path, program: Path, cores: set[int], seconds: float
) -> dict[str, Any]:
    """Run perf_analyzer on its cores and read its report, and what the processes took meanwhile."""
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores)))]
    command = [*pinned, str(program), "-m", "classifier", "-u", server.grpc_url, "-i", "grpc", "--async"]
    command += ["--input-data", str(input_data), "--shape", "IMAGE:1", "-b", str(question.images)]
    command += ["--concurrency-range", str(question.concurrency), "-p", str(round(seconds / WINDOWS * 1e3))]
    command += ["-r", str(WINDOWS), "-s", "999", "--percentile=50"]
    if question.shared_memory:
        command += ["--shared-memory", "system"]
    environment = os.environ | {"LD_LIBRARY_PATH": f"{program.parent}:{pytriton_libraries()}"}
    begun, before = read_clock(server.pid, 0.0), processor_s(server.pid)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S)
    ended, after = read_clock(server.pid, 0.0), processor_s(server.pid)
    if done.returncode:
        raise PerfAnalyzerError(f"{done.stdout[-1500:]}{done.stderr[-1500:]}")
    _, images_per_s, p50_s, p99_s = figures_from_report(done.stdout)
    wall_s = ended.wall_s - begun.wall_s
    return {
        "what": "serving", "setting": str(setting), "concurrency": question.concurrency,
        "images_a_request": question.images, "shared_memory": question.shared_memory,
        "images_per_s": images_per_s, "p50_ms": p50_s * 1e3, "p99_ms": p99_s * 1e3,
        # of the whole run, its start included: less than while it was busy
        "cores": {name: round((after[name] - before.get(name, 0.0)) / wall_s, 2) for name in after},
        "server_cores": round(cores_between(begun, ended).server, 2),
    }  # fmt: skip


def processor_s(pid: int) -> dict[str, float]:
    """Processor time of the server and of each of its models' processes, in seconds."""
    times = {}
    for process in processes_of(pid):
        try:
            arguments = process.cmdline()
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        times[process_name(arguments)] = used.user + used.system
    return times


def process_name(arguments: list[str]) -> str:
    """The instance that a stub runs, which is among its arguments, or the program."""
    for argument in arguments[1:]:
        if argument.startswith(("preprocess_", "alexnet_")):
            return argument
    return Path(arguments[0]).name if arguments else "ended"
