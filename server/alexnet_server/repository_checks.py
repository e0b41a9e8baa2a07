"""Checks of each model's own files: its config, versions, model file, labels, batch sizes and warm-up data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from alexnet_server.findings import Finding, Situation
from alexnet_server.repository import ModelFolder, element_count


def check_configs(situation: Situation) -> Iterator[Finding]:
    """Every model has a config.pbtxt that Triton's protobuf can read."""
    for model in situation.models:
        if model.problem and not model.denied:  # permissions have a check of their own
            yield Finding(
                f"model {model.name}",
                model.problem,
                f"a model config in {model.path / 'config.pbtxt'}",
                situation.build_command(),
            )


def check_model_files(situation: Situation) -> Iterator[Finding]:
    """Every model has a version, and every version that will be served has its model file."""
    for model in situation.readable_models:
        command = situation.build_command(model.backend if model.backend == "tensorrt" else None)
        if not model.served_versions:
            yield Finding(f"model {model.name}", "it has no version", f"a folder {model.path / '1'}", command)
        for version in model.served_versions:
            folder = model.path / str(version)
            # Which of several files a GPU loads, only the check of the GPUs can tell.
            if model.model_file is None or model.config.cc_model_filenames or not _may_list(folder):
                continue
            path = folder / model.model_file
            if not path.is_file():
                yield Finding(f"model {model.name}, version {version}", describe_missing(path), str(path), command)


def check_labels(situation: Situation) -> Iterator[Finding]:
    """A labels file has one line for each class."""
    for model in situation.readable_models:
        for output in model.config.output:
            path = model.path / output.label_filename
            classes = element_count(output)
            if not output.label_filename or (path.is_file() and not os.access(path, os.R_OK)):
                continue
            lines = line_count(path) if path.is_file() else None
            if lines is None or (classes is not None and lines != classes):
                yield Finding(
                    f"model {model.name}, output {output.name}",
                    f"{path} has {lines} lines" if lines is not None else f"no {path}",
                    f"{'one line' if classes is None else f'{classes} lines, one'} for each value of {output.name}",
                    situation.build_command(),
                )


def check_batch_sizes(situation: Situation) -> Iterator[Finding]:
    """Batches that a config prefers or warms up with are not larger than it allows."""
    for model in situation.readable_models:
        largest = model.config.max_batch_size
        sizes = [("preferred_batch_size", size) for size in model.config.dynamic_batching.preferred_batch_size]
        sizes += [(f"model_warmup {warmup.name!r}", warmup.batch_size) for warmup in model.config.model_warmup]
        for what, size in sizes:
            if 0 < largest < size:
                yield Finding(
                    f"model {model.name}",
                    f"{what} is a batch of {size}, max_batch_size {largest}",
                    f"a batch of at most {largest}",
                    situation.build_command(),
                )


def check_warmup_files(situation: Situation) -> Iterator[Finding]:
    """The files that a model is warmed up with are there."""
    for model in situation.readable_models:
        names = {data.input_data_file for warmup in model.config.model_warmup for data in warmup.inputs.values()}
        for name in sorted(names - {""}):
            path = model.path / "warmup" / name
            if _may_list(path.parent) and not path.is_file():
                yield Finding(f"model {model.name}", describe_missing(path), str(path), situation.build_command())


def describe_missing(path: Path) -> str:
    """Say what is in the place of a file that is not there."""
    if path.is_symlink():
        return f"{path.name} is a link to {os.readlink(path)}, which is not there"
    return f"{path.name} is a folder" if path.is_dir() else f"no {path.name}"


def line_count(path: Path) -> int:
    """Return how many labels Triton reads from a file: the parts between line feeds, a last empty one left out."""
    content = path.read_bytes()
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


def labelled_lines(model: ModelFolder) -> int | None:
    """Return how many lines a model's labels have; None without labels, or where they cannot be read."""
    for output in model.config.output:
        path = model.path / output.label_filename
        if output.label_filename and path.is_file() and os.access(path, os.R_OK):
            return line_count(path)
    return None


def _may_list(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK) or not folder.exists()
