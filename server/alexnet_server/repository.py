"""A model repository's folders in, what their configs say out, without starting anything.

The configs are parsed with Triton's own ModelConfig protobuf, which the client library carries.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from alexnet_server.errors import ServerError

# What a backend loads from a version's folder when the config names no default_model_filename.
MODEL_FILE_FROM_BACKEND = {"python": "model.py", "onnxruntime": "model.onnx", "tensorrt": "model.plan"}
# Older configs name a platform instead of a backend.
_BACKEND_FROM_PLATFORM = {"onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt"}


@dataclass(frozen=True)
class ModelFolder:
    """One model of a repository.

    Attributes:
        path: its folder; the folder's name is the model's.
        config: tritonclient's ModelConfig, or None where it cannot be read.
        problem: why it cannot be read; empty where it can.
        denied: whether it cannot be read for want of permission.
    """

    path: Path
    config: Any
    problem: str = ""
    denied: bool = False

    @property
    def name(self) -> str:
        """The name it is served under."""
        return self.path.name

    @property
    def is_ensemble(self) -> bool:
        """Whether it only passes tensors between other models."""
        return bool(self.config.platform == "ensemble")

    @property
    def backend(self) -> str:
        """The backend that runs it; empty for an ensemble."""
        return str(self.config.backend or _BACKEND_FROM_PLATFORM.get(self.config.platform, ""))

    @property
    def steps(self) -> list[str]:
        """The models an ensemble is composed of."""
        return [step.model_name for step in self.config.ensemble_scheduling.step]

    @property
    def versions(self) -> list[int]:
        """The numbered folders, ascending; Triton skips names that begin with 0."""
        names = [folder.name for folder in self.path.iterdir() if folder.is_dir()]
        return sorted(int(name) for name in names if name.isdecimal() and not name.startswith("0"))

    @property
    def served_versions(self) -> list[int]:
        """The versions that the config's version_policy asks for; the newest alone where it says nothing."""
        policy = self.config.version_policy
        choice = policy.WhichOneof("policy_choice")
        if choice == "all":
            return self.versions
        if choice == "specific":
            return list(policy.specific.versions)
        return self.versions[-(policy.latest.num_versions or 1) :]

    @property
    def model_file(self) -> str | None:
        """The file that each version must hold; None where no file is needed or none is known."""
        if self.is_ensemble:
            return None
        return self.config.default_model_filename or MODEL_FILE_FROM_BACKEND.get(self.backend)

    def model_file_for(self, compute_capability: str) -> str | None:
        """The file that each version must hold for GPUs of a compute capability, e.g. "8.6"."""
        return self.config.cc_model_filenames.get(compute_capability) or self.model_file

    @property
    def instance_kinds(self) -> set[str]:
        """What the instance groups say that instances run on, e.g. {"KIND_GPU"}; empty where there is none."""
        return {group.Kind.Name(group.kind) for group in self.config.instance_group}

    def parameter(self, name: str) -> str | None:
        """The value of one of the config's parameters; None where it is not given."""
        # Asking a protobuf map for a key that it lacks would add it.
        return self.config.parameters[name].string_value if name in self.config.parameters else None

    @property
    def cpu_accelerators(self) -> list[str]:
        """What runs the network on the CPU in place of the backend itself, e.g. ["openvino"]."""
        accelerators = self.config.optimization.execution_accelerators.cpu_execution_accelerator
        return [accelerator.name for accelerator in accelerators]

    @property
    def instance_count(self) -> int:
        """How many instances the config asks for."""
        return sum(group.count or 1 for group in self.config.instance_group) or 1


def read_repository(repository: Path) -> tuple[ModelFolder, ...]:
    """Read every model's config, by name.

    Raises:
        ServerError: there is no such folder, it cannot be read, or it holds no model.
    """
    build = f"alexnet-build repository --weights demo --engine onnxruntime --output {shlex.quote(str(repository))}"
    try:
        if not repository.is_dir():
            raise ServerError(
                f"no model repository: {repository} is {'not a folder' if repository.exists() else 'not there'}\n"
                f"  next: {build}"
            )
        folders = sorted(f for f in repository.iterdir() if f.is_dir() and not f.name.startswith((".", "_")))
    except OSError as error:
        raise ServerError(
            f"the model repository {repository} cannot be read: {error.strerror}\n"
            f"  next: ls -ld {shlex.quote(str(repository))}, for who may; `id` for who asked"
        ) from error
    if not folders:
        raise ServerError(f"the model repository {repository} is empty\n  next: {build}")
    return tuple(read_model_folder(folder) for folder in folders)


def read_model_folder(folder: Path) -> ModelFolder:
    """Read one model's config.pbtxt; what is wrong with it is kept in `problem`."""
    from google.protobuf import text_format

    try:
        os.listdir(folder)  # its versions are asked for later
        text = (folder / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(text, _model_config_module().ModelConfig())
    except FileNotFoundError:
        return ModelFolder(folder, None, "there is no config.pbtxt")
    except (OSError, UnicodeDecodeError) as error:
        denied = isinstance(error, PermissionError)
        return ModelFolder(folder, None, f"config.pbtxt cannot be read: {error}", denied)
    except text_format.ParseError as error:
        return ModelFolder(folder, None, f"config.pbtxt is not a model config: {error}")
    if config.name not in ("", folder.name):
        return ModelFolder(folder, None, f"config.pbtxt names the model {config.name!r}, the folder {folder.name!r}")
    return ModelFolder(folder, config)


def element_count(tensor: Any) -> int | None:
    """Return how many elements one batch entry of an input or output has; None where a size is open."""
    return None if any(size < 0 for size in tensor.dims) else math.prod(tensor.dims)


def type_name(tensor: Any) -> str:
    """Return an input's or output's data type as configs write it, e.g. "TYPE_UINT8"."""
    types = tensor.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number
    return str(types[tensor.data_type].name)


def _model_config_module() -> ModuleType:
    """Import tritonclient's ModelConfig, without the gRPC that importing `tritonclient.grpc` brings along.

    gRPC takes longer to import than everything else that a preflight does. The module gets its own name, so
    that whatever imports `tritonclient.grpc` later in this process finds this one there.
    """
    name = "tritonclient.grpc.model_config_pb2"
    if name not in sys.modules:
        client = importlib.util.find_spec("tritonclient")  # finds the package without importing it
        assert client is not None
        assert client.submodule_search_locations is not None
        path = Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
