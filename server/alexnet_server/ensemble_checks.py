"""Checks of ensembles: steps, tensors and batch sizes agree with the models that the ensemble is made of.

The rules are Triton's (core repository, ensemble_utils.cc and model_config_utils.cc), which looks only after it has
loaded the models, and stops at the first fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alexnet_server.findings import Finding, Situation
from alexnet_server.repository import ModelFolder, type_name

Steps = list[tuple[Any, ModelFolder]]  # each step of an ensemble, with its model
Difference = tuple[str, str]  # what was found, what was expected


@dataclass(frozen=True)
class Tensor:
    """A tensor as one model's config declares it; `batched` says whether a batch comes before dims."""

    model: str
    type: str
    dims: tuple[int, ...]
    batched: bool

    def agrees_with(self, other: Tensor) -> bool:
        """Whether the two can be joined: an open size, -1, is as good as any."""
        return self.type == other.type and (_match(self.dims, other.dims) or _match(self.full_dims, other.full_dims))

    @property
    def full_dims(self) -> tuple[int, ...]:
        """Its dims with the batch."""
        return (-1, *self.dims) if self.batched else self.dims

    def __str__(self) -> str:
        return f"{self.type.removeprefix('TYPE_')} {list(self.dims)} in {self.model}"


def check_steps(situation: Situation) -> Iterator[Finding]:
    """Every step of an ensemble is a model of the repository, in a version that is served."""
    models = {model.name: model for model in situation.models}
    for ensemble in situation.readable_models:
        for step in ensemble.config.ensemble_scheduling.step:
            model = models.get(step.model_name)
            if model is None:
                yield _finding(
                    situation,
                    ensemble,
                    f"its step {step.model_name} is not in the repository, which has {', '.join(sorted(models))}",
                    f"a folder {situation.repository / step.model_name}",
                )
            elif not model.problem and step.model_version > 0 and step.model_version not in model.served_versions:
                served = ", ".join(map(str, model.served_versions)) or "none"
                yield _finding(
                    situation,
                    ensemble,
                    f"its step {model.name} asks for version {step.model_version}, and {served} is served",
                    "model_version: -1, which is the newest",
                )


def check_ensemble_tensors(situation: Situation) -> Iterator[Finding]:
    """What steps map are tensors of their models; what they join is alike, and leads from input to output."""
    for ensemble, steps in _ensembles(situation):
        differences = [*_unmapped_tensors(steps), *_unlike_tensors(ensemble, steps)] or _loose_tensors(ensemble, steps)
        for found, expected in differences:
            yield _finding(situation, ensemble, found, expected)


def check_ensemble_batch(situation: Situation) -> Iterator[Finding]:
    """An ensemble allows no larger batch than any model that it is made of."""
    for ensemble, steps in _ensembles(situation):
        for _, model in steps:
            if 0 < model.config.max_batch_size < ensemble.config.max_batch_size:
                yield _finding(
                    situation,
                    ensemble,
                    f"its max_batch_size is {ensemble.config.max_batch_size}, "
                    f"that of its step {model.name} {model.config.max_batch_size}",
                    f"at most {model.config.max_batch_size}",
                )


def _ensembles(situation: Situation) -> Iterator[tuple[ModelFolder, Steps]]:
    """Each ensemble with its steps and their models, where all of them can be read."""
    models = {model.name: model for model in situation.readable_models}
    for ensemble in situation.readable_models:
        steps = list(ensemble.config.ensemble_scheduling.step)
        if ensemble.is_ensemble and all(step.model_name in models for step in steps):
            yield ensemble, [(step, models[step.model_name]) for step in steps]


def _unmapped_tensors(steps: Steps) -> Iterator[Difference]:
    """What a step maps that its model lacks, and inputs of the model that it does not map."""
    for step, model in steps:
        for kind, mapped, declared in (
            ("input", step.input_map, model.config.input),
            ("output", step.output_map, model.config.output),
        ):
            names = {tensor.name for tensor in declared}
            for key in sorted(set(mapped) - names):
                found = f"its step {model.name} maps the {kind} {key}, which {model.name} does not have"
                yield found, f"one of {', '.join(sorted(names))}"
        for tensor in model.config.input:
            if tensor.name not in step.input_map and not tensor.optional:
                yield f"its step {model.name} maps nothing to the input {tensor.name}", f"a tensor for {tensor.name}"


def _unlike_tensors(ensemble: ModelFolder, steps: Steps) -> Iterator[Difference]:
    """Tensors that are joined under one name and differ in type or dims."""
    ends = (*ensemble.config.input, *ensemble.config.output)
    joined = {tensor.name: _ensemble_tensor(ensemble, tensor) for tensor in ends}
    for step, model in steps:
        for mapped, declared in ((step.input_map, model.config.input), (step.output_map, model.config.output)):
            for tensor in declared:
                if tensor.name not in mapped:
                    continue
                name, here = mapped[tensor.name], _tensor(model, tensor, tuple(tensor.dims))
                there = joined.setdefault(name, here)
                if not here.agrees_with(there):
                    yield f"its tensor {name} is {there}, but {here}", "one type and one shape"


def _loose_tensors(ensemble: ModelFolder, steps: Steps) -> Iterator[Difference]:
    """Tensors without a producer, with two, or without a use."""
    produced = [tensor.name for tensor in ensemble.config.input]
    produced += [name for step, _ in steps for name in step.output_map.values()]
    used = {tensor.name for tensor in ensemble.config.output}
    used |= {name for step, _ in steps for name in step.input_map.values()}
    for name in sorted(used - set(produced)):
        yield f"nothing produces its tensor {name}", f"one of {', '.join(sorted(set(produced)))}"
    for name in sorted(set(produced) - used):
        yield f"nothing uses its tensor {name}", "a step that takes it, or an output of that name"
    for name in sorted({name for name in produced if produced.count(name) > 1}):
        yield f"its tensor {name} is produced twice", "one producer"


def _tensor(model: ModelFolder, tensor: Any, dims: tuple[int, ...]) -> Tensor:
    return Tensor(model.name, type_name(tensor), dims, model.config.max_batch_size > 0)


def _ensemble_tensor(ensemble: ModelFolder, tensor: Any) -> Tensor:
    return _tensor(ensemble, tensor, tuple(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims))


def _match(dims: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(dims) == len(other) and all(-1 in pair or pair[0] == pair[1] for pair in zip(dims, other, strict=True))


def _finding(situation: Situation, ensemble: ModelFolder, found: str, expected: str) -> Finding:
    return Finding(f"ensemble {ensemble.name}", found, expected, situation.build_command())
