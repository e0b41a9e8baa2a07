"""Checks of TensorRT plans against the machine: its TensorRT, its GPUs; and notes on what could not be compared."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from alexnet_server.backends import available_backends
from alexnet_server.commands import rebuild_command
from alexnet_server.findings import Finding, ServedVersion, Situation
from alexnet_server.fitting_checks import loaded_engines
from alexnet_server.flags import VERSION_COMPATIBLE_FLAG, allows_version_compatible, min_compute_capability
from alexnet_server.hardware import Gpu, numbers_text
from alexnet_server.manifest import capability_numbers
from alexnet_server.repository import ModelFolder
from alexnet_server.repository_checks import describe_missing

# Version-compatible plans run in newer TensorRTs of the same major version, and in these of the next: plan and server
# (Support Matrix 11.4.1, Engine Portability).
_NEXT_MAJOR = {(8, 10), (10, 11)}


def check_tensorrt(situation: Situation) -> Iterator[Finding]:
    """A plan is loaded by the TensorRT that built it; a version-compatible one by a newer one too, if allowed."""
    for version, file, record in loaded_engines(situation):
        if record is None or version.model.backend != "tensorrt":
            continue
        built = numbers_text(record.builder_version or "")
        here = situation.tensorrt
        if built and here and not _loads(built, here, version_compatible=record.version_compatible):
            newer = " or newer" if record.version_compatible else ""
            kind = "a version-compatible plan" if record.version_compatible else "a plan"
            yield Finding(
                version.subject,
                f"{file} is {kind} built by TensorRT {built}, the server's is TensorRT {here}",
                f"TensorRT {built}{newer} in the server, or a plan built by TensorRT {here}",
                f"{rebuild_command(situation.repository, record, 'tensorrt')}  # where TensorRT {here} is installed",
            )
        elif record.version_compatible and not allows_version_compatible(situation.triton_flags):
            yield _not_allowed(situation, version, file)


def check_gpus(situation: Situation) -> Iterator[Finding]:
    """Models that need a GPU find one, and every GPU finds a plan that it can run."""
    for model in situation.readable_models:
        kinds = model.instance_kinds
        tensorrt = model.backend == "tensorrt"
        if tensorrt and kinds & {"KIND_CPU", "KIND_MODEL"}:
            yield Finding(
                f"model {model.name}",
                f"its instance_group says {' and '.join(sorted(kinds))}, and TensorRT runs on GPUs alone",
                "kind: KIND_GPU",
                situation.build_command("tensorrt"),
            )
        elif tensorrt or "KIND_GPU" in kinds:
            yield from _gpu_findings(situation, model)


def note_unknown_hardware(situation: Situation) -> Iterator[Finding]:
    """Say which comparisons were left out because the machine does not tell."""
    engines = loaded_engines(situation)
    plans = [(version, record) for version, _, record in engines if version.model.backend == "tensorrt"]
    if not plans or (situation.server and "tensorrt" not in available_backends(situation.server)):
        return
    subject = "what could not be compared"
    check = f"alexnet-server check --repository {shlex.quote(str(situation.repository))}"
    if not situation.tensorrt and any(record and record.builder_version for _, record in plans):
        yield Finding(
            subject,
            "the server's TensorRT has no version that can be seen, so plans were not compared with it",
            "libnvinfer.so.X.Y.Z where the loader finds it, or $TRT_VERSION",
            f"{check} --tensorrt X.Y.Z",
        )
    gpus = situation.gpus
    if gpus.devices is None or not gpus.exact:
        reason = gpus.reason or "CUDA_VISIBLE_DEVICES picks some of different kinds, which CUDA counts in its own order"
        yield Finding(
            subject,
            f"the GPUs that the server would use: {reason}",
            "an nvidia-smi that answers, and CUDA_DEVICE_ORDER=PCI_BUS_ID where GPUs differ",
            f"{check} --gpu COMPUTE_CAPABILITY",
        )
    for name, path in {version.subject: version.path for version, record in plans if record is None}.items():
        yield Finding(
            subject,
            f"{name} has no manifest that describes its plan",
            f"{path / 'manifest.json'}, which says what the plan was built for",
            situation.build_command("tensorrt"),
        )


def _loads(built: str, here: str, *, version_compatible: bool) -> bool:
    """Whether a TensorRT loads a plan that another one built; only as many numbers count as both have."""
    plan = [int(number) for number in built.split(".")]
    server = [int(number) for number in here.split(".")]
    known = min(len(plan), len(server))
    if not version_compatible:
        # Major, minor, patch and build have to be the same (Support Policies, API Versioning).
        return plan[:known] == server[:known]
    if plan[0] == server[0]:
        return plan[:known] <= server[:known]
    return (plan[0], server[0]) in _NEXT_MAJOR


def _not_allowed(situation: Situation, version: ServedVersion, file: str) -> Finding:
    flags = shlex.join([*situation.triton_flags, VERSION_COMPATIBLE_FLAG])
    return Finding(
        version.subject,
        f"{file} is version-compatible: it carries code that runs in the server, which the server's flags do not allow",
        f"{VERSION_COMPATIBLE_FLAG}, for plans from a source that you trust",
        f"alexnet-server run --repository {shlex.quote(str(situation.repository))} -- {flags}"
        "  # in the container: TENSORRT_VERSION_COMPATIBLE=true",
    )


def _gpu_findings(situation: Situation, model: ModelFolder) -> Iterator[Finding]:
    gpus = situation.gpus
    if gpus.devices is None:
        return  # noted
    smallest = min_compute_capability(situation.triton_flags)
    devices = [gpu for gpu in gpus.devices if capability_numbers(gpu.compute_capability) >= smallest]
    if not devices:
        if _has_backend(situation, model):  # else that is the finding
            yield _no_gpu(situation, model, gpus.reason or f"none of compute capability {smallest[0]}.{smallest[1]}")
        return
    asked = {index for group in model.config.instance_group for index in group.gpus}
    missing = asked - {gpu.index for gpu in devices}
    if missing and gpus.exact and gpus.ordered and situation.server:  # another machine's are not numbered
        yield Finding(
            f"model {model.name}",
            f"its instance_group asks for GPU {', '.join(map(str, sorted(missing)))}",
            f"one of the GPUs here, {', '.join(str(gpu.index) for gpu in devices)}",
            situation.build_command(model.backend if model.backend == "tensorrt" else None),
        )
    elif model.backend == "tensorrt":
        sure = gpus.exact and (gpus.ordered or not asked)
        used = [gpu for gpu in devices if gpu.index in asked] if sure and asked and situation.server else devices
        for version in situation.served_versions:
            if version.model is model:
                findings = _unfit_plans(situation, version, used)
                # Where it is not clear which of the GPUs are used, it is a fault only if no plan fits any of them.
                yield from findings if sure or len(findings) == len(_by_capability(used)) else ()


def _unfit_plans(situation: Situation, version: ServedVersion, gpus: Sequence[Gpu]) -> list[Finding]:
    """A finding for each compute capability among the GPUs that no plan of a version serves."""
    findings = []
    for capability, alike in _by_capability(gpus).items():
        file = version.model.model_file_for(capability) or ""
        path = version.path / file
        record = version.engine(file)
        if version.model.config.cc_model_filenames and version.path.is_dir() and not path.is_file():
            found = f"{_describe(alike)} would load {file}: {describe_missing(path)}"
        elif record and record.runs_on(capability) is False:
            found = f"{file} was built for {record.runs_where}, {_describe(alike)} has {capability}"
        else:
            continue
        several = len({gpu.compute_capability for gpu in gpus}) > 1 or bool(version.model.config.cc_model_filenames)
        rebuild = rebuild_command(situation.repository, record, "tensorrt", keep_other_gpus=several)
        command = f"{rebuild}  # on a GPU of compute capability {capability}"
        findings.append(Finding(version.subject, found, f"a plan for compute capability {capability}", command))
    return findings


def _no_gpu(situation: Situation, model: ModelFolder, reason: str) -> Finding:
    tensorrt = model.backend == "tensorrt"
    build = situation.build_command("onnxruntime")
    container = "docker run --gpus=all ..."
    embedded = situation.server is not None and situation.server.embedded
    return Finding(
        f"model {model.name}",
        f"no GPU here ({reason}), and its {'backend is tensorrt' if tensorrt else 'instance_group says KIND_GPU'}",
        "a GPU that nvidia-smi shows, or an engine for CPUs",
        f"{build}  # or, with a GPU: {container}" if embedded else f"{container}  # or, without a GPU: {build}",
    )


def _has_backend(situation: Situation, model: ModelFolder) -> bool:
    return situation.server is None or model.backend in available_backends(situation.server)


def _by_capability(gpus: Sequence[Gpu]) -> dict[str, list[Gpu]]:
    groups: dict[str, list[Gpu]] = {}
    for gpu in gpus:
        groups.setdefault(gpu.compute_capability, []).append(gpu)
    return groups


def _describe(gpus: Sequence[Gpu]) -> str:
    """Name GPUs of one compute capability."""
    if gpus[0].name == "--gpu":
        return "the GPU of --gpu"
    numbers = ", ".join(str(gpu.index) for gpu in gpus)
    return f"{'GPU' if len(gpus) == 1 else 'each of the GPUs'} {numbers} here ({gpus[0].name})"
