"""Checks of engines against their manifest: the files are whole, and the configs ask for what the engines can do.

The manifest is what the builder wrote next to an engine. Checks say nothing about what it does not say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alexnet_server.commands import rebuild_command
from alexnet_server.findings import Finding, ServedVersion, Situation
from alexnet_server.manifest import EngineRecord, TensorRecord
from alexnet_server.repository import element_count, type_name
from alexnet_server.repository_checks import labelled_lines

_READ_BYTES = 1 << 20


def check_manifests(situation: Situation) -> Iterator[Finding]:
    """A manifest can be understood, and is about an engine for the config's backend."""
    for version in situation.served_versions:
        manifest = version.manifest
        if manifest is None:
            continue
        engine = version.model.backend
        if manifest.problems:
            yield Finding(
                f"{version.subject}, {manifest.path.name}",
                "; ".join(manifest.problems),
                f"what `alexnet-build repository` wrote to {manifest.path}",
                situation.build_command(engine),
            )
        if manifest.backend and manifest.backend != engine:
            yield Finding(
                version.subject,
                f'its manifest says that the engine is for {manifest.backend}, config.pbtxt backend: "{engine}"',
                "one and the same backend",
                situation.build_command(manifest.backend),
            )


def check_engine_files(situation: Situation) -> Iterator[Finding]:
    """Engine files have the size that the manifest says, and the content, where that is asked for."""
    for version, file, record in loaded_engines(situation):
        path = version.path / file
        if record is None or not path.is_file() or not os.access(path, os.R_OK):
            continue
        found = expected = ""
        size = path.stat().st_size
        if record.size is not None and size != record.size:
            found, expected = f"{file} has {size} bytes", f"{record.size} bytes, as its manifest says"
        elif situation.hash_engines and record.sha256 and (sha256 := _sha256(path)) != record.sha256:
            found, expected = f"{file} has SHA-256 {sha256}", f"{record.sha256}, as its manifest says"
        if found:
            command = f"{_rebuild(situation, version, record)}  # or copy {path} once more from where it was built"
            yield Finding(version.subject, found, expected, command)


def check_batch_range(situation: Situation) -> Iterator[Finding]:
    """TensorRT engines run the batches that the config allows; those of ONNX Runtime run any."""
    for version, file, record in loaded_engines(situation):
        if record is None or version.model.backend != "tensorrt":
            continue
        asked = max(1, version.model.config.max_batch_size)
        smallest, largest = record.min_batch or 1, record.max_batch or asked
        if not smallest <= asked <= largest:
            yield Finding(
                version.subject,
                f"config.pbtxt says max_batch_size: {version.model.config.max_batch_size}, "
                f"and {file} runs batches of {smallest} to {largest}",
                f"a max_batch_size of {smallest} to {largest}, or an engine for batches of {asked}",
                rebuild_command(situation.repository, record, "tensorrt", max_batch=asked),
            )


def check_classes(situation: Situation) -> Iterator[Finding]:
    """There are as many labels as the weights tell classes apart."""
    for version in situation.served_versions:
        classes = version.manifest.classes if version.manifest else None
        lines = labelled_lines(version.model)
        outputs = {element_count(output) for output in version.model.config.output if output.label_filename}
        # Labels that do not even match the config are found by check_labels.
        if classes is not None and lines is not None and classes != lines and outputs <= {lines, None}:
            yield Finding(
                version.subject,
                f"its labels are {lines}, the classes of its weights {classes}",
                f"{classes} lines, one for each class",
                _rebuild(situation, version, None),
            )


def check_tensors(situation: Situation) -> Iterator[Finding]:
    """The config's tensors are the engine's: names, types and shapes, none missing on either side."""
    for version in situation.served_versions:
        if version.manifest is None or version.manifest.tensors is None:
            continue
        config = version.model.config
        for kind, declared in (("input", config.input), ("output", config.output)):
            there = {tensor.name: tensor for tensor in version.manifest.tensors if tensor.kind == kind}
            here = {tensor.name: _config_tensor(kind, tensor, config.max_batch_size > 0) for tensor in declared}
            for name in sorted(there.keys() | here.keys()):
                if name in there and name in here and _alike(there[name], here[name]):
                    continue
                yield Finding(
                    version.subject,
                    f"config.pbtxt has {_describe(kind, name, here.get(name))}",
                    f"{_describe(kind, name, there.get(name))}, as the engine has",
                    _rebuild(situation, version, None),
                )


def loaded_engines(situation: Situation) -> Iterator[tuple[ServedVersion, str, EngineRecord | None]]:
    """Yield every engine file that would be loaded: its version, its name, what the manifest says of it.

    Where a version has files for several GPUs, those for the GPUs here; all of them where these are not known.
    """
    for version in situation.served_versions:
        model = version.model
        files = {model.model_file}
        if model.config.cc_model_filenames:
            gpus = situation.gpus.devices
            if gpus:
                files = {model.model_file_for(gpu.compute_capability) for gpu in gpus}
            else:
                files |= set(model.config.cc_model_filenames.values())
        if model.backend in ("tensorrt", "onnxruntime"):
            for file in sorted(file for file in files if file):
                yield version, file, version.engine(file)


def _rebuild(situation: Situation, version: ServedVersion, record: EngineRecord | None) -> str:
    if record is None and version.manifest and version.manifest.engines:
        record = version.manifest.engines[0]
    return rebuild_command(situation.repository, record, version.model.backend)


def _sha256(path: Path) -> str:
    import hashlib  # brings OpenSSL along, which every other check does without

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _config_tensor(kind: str, tensor: Any, batched: bool) -> TensorRecord:
    """A config's tensor as the engine sees it: reshaped where the config says so, without the batch."""
    dims = tuple(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
    return TensorRecord(tensor.name, kind, type_name(tensor), dims if batched else dims[1:])


def _alike(there: TensorRecord, here: TensorRecord) -> bool:
    open_or_same = len(there.dims) == len(here.dims) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(there.dims, here.dims, strict=True)
    )
    return there.type == here.type and open_or_same


def _describe(kind: str, name: str, tensor: TensorRecord | None) -> str:
    return f"the {kind} {name} {tensor.type} {list(tensor.dims)}" if tensor else f"no {kind} {name}"
