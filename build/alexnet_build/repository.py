"""Writes a model repository that Triton loads, and publishes engines into it.

In: a network's specification and a verified ``Engine``. Out: the three models' folders. An engine appears as the
next numeric version, whole or not at all; the versions before it stay, to serve on and to go back to. A version may
hold plans for several kinds of GPU: those of the version before can be carried over into it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from alexnet_build.configs import (
    ENGINE_FILES,
    LABELS_FILE,
    WARMUP_PHOTOGRAPH,
    WARMUP_PIXELS,
    PreprocessDevice,
    ServingSpec,
    config_texts,
)
from alexnet_build.engine import Engine
from alexnet_build.errors import PublishError
from alexnet_build.manifest import (
    MANIFEST_FILE,
    PlanForOtherGpu,
    manifest,
    plan_file,
    plans_for_other_gpus,
    read_manifest,
    versions_of,
)
from alexnet_build.network import NetworkSpec
from alexnet_build.preprocessing import pixels_from_photograph, preprocess_model_directory
from alexnet_build.tensors import ALEXNET, CLASSIFIER, PREPROCESS
from alexnet_build.tuning.record import read_tuning
from alexnet_build.verify.views import PHOTOGRAPHS
from alexnet_build.weights import TrainedNetwork

_WARMUP_SOURCE = PHOTOGRAPHS / "coffee.jpg"


@dataclass(frozen=True)
class Published:
    """Where an engine went.

    Attributes:
        repository: The model repository.
        version: Numeric version of the model ``alexnet``.
        directory: The version's folder.
    """

    repository: Path
    version: int
    directory: Path


def publish(
    repository: Path,
    trained: TrainedNetwork,
    engine: Engine,
    *,
    preprocess_instances: int | None = None,
    preprocess_device: PreprocessDevice | None = None,
    cores: int | None = None,
    command: str = "",
    keep_other_gpus: bool = False,
) -> Published:
    """Add an engine to a repository, making the repository if there is none.

    Args:
        repository: The folder that Triton is pointed at.
        trained: The network that the engine runs.
        engine: What ``engine.verified_engine`` made.
        preprocess_instances: Processes that decode photographs; None for what the repository was tuned to.
        preprocess_device: Where they do it; None leaves it to the model.
        cores: Of the machine that serves, if the repository was not tuned; None as in ``ServingSpec``.
        command: The command line that makes this engine again; goes into the manifest.
        keep_other_gpus: Carry the newest version's plans for other GPUs over; each GPU then loads its own.

    Raises:
        PublishError: The folder serves another network, or cannot be written; nothing was changed.
    """
    repository = repository.absolute()
    others = plans_for_other_gpus(repository / ALEXNET, trained, engine) if keep_other_gpus else []
    capabilities = [other.compute_capability for other in others]
    if others and engine.compute_capability:
        capabilities.append(engine.compute_capability)
    serving = ServingSpec(
        engine.kind, trained.spec.image_size, trained.spec.classes, trained.spec.resize_short_side,
        engine.max_batch, preprocess_instances, {name: plan_file(name) for name in sorted(capabilities)},
        read_tuning(repository, engine.kind, engine.max_batch), preprocess_device, cores,
        engine.embeddings.width if engine.embeddings else None, engine.accelerator,
    )  # fmt: skip
    files = repository_files(serving, trained.spec)
    try:
        if not repository.exists():
            with _staged(repository.with_name(f".{repository.name}.part-{uuid4().hex}")) as staging:
                _write_files(staging, files)
                _write_version(staging / ALEXNET / "1", trained, engine, command)
                staging.rename(repository)
            return Published(repository, 1, repository / ALEXNET / "1")
        refuse_other_network(repository, trained.spec)
        refuse_other_outputs(repository, engine.embeddings is not None)
        for model in (PREPROCESS, ALEXNET, CLASSIFIER):
            (repository / model).mkdir(exist_ok=True)
        # A version's folder with another name than a number does not exist for Triton.
        with _staged(repository / ALEXNET / f".part-{uuid4().hex}") as staging:
            _write_version(staging, trained, engine, command, others)
            _name_plans_by_gpu(repository / ALEXNET, capabilities)
            version = _take_next_version(staging, repository / ALEXNET)
        _write_files(repository, files)
    except OSError as error:
        raise PublishError(
            f"cannot write the model repository {repository}: {error.strerror or error}; "
            "what was served before is untouched. Make room or choose another --output"
        ) from error
    return Published(repository, version, repository / ALEXNET / str(version))


def write_files(repository: Path, serving: ServingSpec, network: NetworkSpec) -> None:
    """Write everything in a repository but the engine."""
    _write_files(repository, repository_files(serving, network))


def repository_files(serving: ServingSpec, network: NetworkSpec) -> dict[str, bytes]:
    """Everything in a repository but the engine: content by path relative to the repository."""
    configs = config_texts(serving)
    photograph = _WARMUP_SOURCE.read_bytes()
    pixels = pixels_from_photograph(_WARMUP_SOURCE, serving.image_size, serving.resize_short_side)
    files = {f"{model}/config.pbtxt": text.encode() for model, text in configs.items()}
    for source in sorted((preprocess_model_directory() / "1").iterdir()):
        if source.suffix in (".py", ".cu"):
            files[f"{PREPROCESS}/1/{source.name}"] = source.read_bytes()
    # Triton reads a STRING tensor from a file as length and bytes, one after the other.
    files[f"{PREPROCESS}/warmup/{WARMUP_PHOTOGRAPH}"] = struct.pack("<I", len(photograph)) + photograph
    files[f"{ALEXNET}/warmup/{WARMUP_PIXELS}"] = pixels.tobytes()
    files[f"{ALEXNET}/{LABELS_FILE}"] = "".join(f"{label}\n" for label in network.labels).encode()
    files[f"{CLASSIFIER}/1/.gitkeep"] = b""  # an ensemble has a version too, with nothing in it
    return files


def _write_version(
    directory: Path, trained: TrainedNetwork, engine: Engine, command: str, others: Sequence[PlanForOtherGpu] = ()
) -> None:
    directory.mkdir(parents=True)
    served = directory / ENGINE_FILES[engine.kind]
    served.write_bytes(engine.content)
    if others and engine.compute_capability:
        _link(served, directory / plan_file(engine.compute_capability))
    for other in others:
        _link(other.source, directory / other.entry["file"])
    text = json.dumps(manifest(trained, engine, command, others), indent=2)
    (directory / MANIFEST_FILE).write_text(text + "\n")


def _name_plans_by_gpu(model: Path, capabilities: Collection[str]) -> None:
    """Give the plans of all versions the names by which the config asks for them, so that each can still be served."""
    for version in versions_of(model):
        known = read_manifest(model / str(version)) or {}
        capability, plan = str(known.get("compute_capability")), model / str(version) / ENGINE_FILES["tensorrt"]
        if capability in capabilities and plan.is_file():
            _link(plan, plan.with_name(plan_file(capability)))


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no such thing."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _take_next_version(staging: Path, model: Path) -> int:
    """Rename a finished version to the next free number; another publisher may take one in between."""
    while True:
        version = max(versions_of(model), default=0) + 1
        try:
            staging.rename(model / str(version))
        except OSError:
            if (model / str(version)).exists():
                continue
            raise
        return version


def _write_files(repository: Path, files: dict[str, bytes]) -> None:
    """Write what differs, each file whole or not at all."""
    for name, content in files.items():
        path = repository / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.part")
        partial.write_bytes(content)
        partial.replace(path)


def refuse_other_network(repository: Path, network: NetworkSpec) -> None:
    """Labels belong to all versions of a folder, so a folder serves one network.

    Raises:
        PublishError: The folder serves another one.
    """
    labels = repository / ALEXNET / LABELS_FILE
    there = labels.read_text(encoding="utf-8").splitlines() if labels.is_file() else list(network.labels)
    if there != list(network.labels):
        raise PublishError(
            f"{repository} serves another network: its {len(there)} labels ({', '.join(there[:3])}, ...) are not "
            f"this network's {network.classes} ({', '.join(network.labels[:3])}, ...). "
            "Choose another --output, or take that folder away first"
        )


def refuse_other_outputs(repository: Path, embeddings: bool) -> None:
    """One config belongs to all versions of a folder, so all of them have embeddings or none has.

    Raises:
        PublishError: The versions in the folder are of the other kind.
    """
    newest = versions_of(repository / ALEXNET)[-1:]
    known = read_manifest(repository / ALEXNET / str(newest[0])) if newest else None
    if known is not None and embeddings != ("embeddings_parity" in known):
        raise PublishError(
            f"the versions in {repository} have no embeddings, and Triton could not go back to them. Choose another "
            "--output, or leave --embeddings out"
            if embeddings
            else f"the versions in {repository} have embeddings, which its users may rely on. Add --embeddings, or "
            "choose another --output"
        )


@contextlib.contextmanager
def _staged(directory: Path) -> Iterator[Path]:
    """A folder to write into that is gone afterwards unless it was renamed."""
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
