"""Checks of a repository's files: configs, steps, versions, model files and labels agree with each other."""

from __future__ import annotations

from collections.abc import Iterator

from alexnet_server.findings import Finding, Situation
from alexnet_server.repository import element_count


def check_configs(situation: Situation) -> Iterator[Finding]:
    """Every model has a config.pbtxt that Triton's protobuf can read."""
    for model in situation.models:
        if model.problem:
            yield Finding(
                f"model {model.name}",
                model.problem,
                f"a model config in {model.path / 'config.pbtxt'}",
                situation.build_command(),
            )


def check_ensembles(situation: Situation) -> Iterator[Finding]:
    """Every step of an ensemble is a model of the repository."""
    names = {model.name for model in situation.models}
    for model in situation.readable_models:
        for step in model.steps:
            if step not in names:
                yield Finding(
                    f"ensemble {model.name}",
                    f"its step {step} is not in the repository, which has {', '.join(sorted(names))}",
                    f"a folder {situation.repository / step}",
                    situation.build_command(),
                )


def check_model_files(situation: Situation) -> Iterator[Finding]:
    """Every model has a version, and every version that will be served has its model file."""
    for model in situation.readable_models:
        engine = model.config.backend if model.config.backend == "tensorrt" else "onnxruntime"
        command = situation.build_command(engine)
        if not model.served_versions:
            yield Finding(f"model {model.name}", "it has no version", f"a folder {model.path / '1'}", command)
        for version in model.served_versions:
            path = model.path / str(version) / (model.model_file or "")
            if not path.exists():
                yield Finding(f"model {model.name}, version {version}", f"no {path.name}", str(path), command)


def check_labels(situation: Situation) -> Iterator[Finding]:
    """A labels file has one line for each class."""
    for model in situation.readable_models:
        for output in model.config.output:
            if not output.label_filename:
                continue
            path = model.path / output.label_filename
            lines = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else None
            if lines != element_count(output):
                yield Finding(
                    f"model {model.name}, output {output.name}",
                    f"{path} has {lines} lines" if lines is not None else f"no {path}",
                    f"{element_count(output)} lines, one for each value of {output.name}",
                    situation.build_command(),
                )
