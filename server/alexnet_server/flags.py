"""Flags for tritonserver that a user adds: which are refused, what they allow, and which models they load."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from alexnet_server.errors import ServerError
from alexnet_server.repository import ModelFolder

# What this package decides itself, and the option that decides it here.
OWNED_FLAGS = {
    "--model-repository": "--repository",
    "--model-store": "--repository",
    "--http-address": "--host",
    "--grpc-address": "--host",
    "--metrics-address": "--host",
    "--http-port": "--http-port",
    "--grpc-port": "--grpc-port",
    "--metrics-port": "--metrics-port",
    "--backend-directory": "--tritonserver",
    "--log-file": "--log",
}

# Lets the TensorRT backend load version-compatible plans; they carry code that runs in the server.
VERSION_COMPATIBLE_FLAG = "--backend-config=tensorrt,version-compatible=true"


def refuse_owned_flags(triton_flags: Sequence[str]) -> None:
    """Refuse flags that would contradict what this package decides.

    Raises:
        ServerError: names the flag and the option to use instead.
    """
    for flag in triton_flags:
        name = flag.partition("=")[0]
        if not flag.startswith("--"):
            raise ServerError(f"{flag!r} is not a tritonserver flag; write them as --name=value")
        if name in OWNED_FLAGS:
            raise ServerError(f"{name} is set by alexnet-server\n  next: use {OWNED_FLAGS[name]} instead")


def allows_version_compatible(triton_flags: Sequence[str]) -> bool:
    """Whether flags let the TensorRT backend load plans that carry a TensorRT runtime of their own.

    What counts as true is what Triton's ParseBoolValue takes (backend repository, backend_common.cc).
    """
    prefix = "tensorrt,version-compatible="
    settings = _values(triton_flags, "--backend-config")
    return any(setting.removeprefix(prefix).lower() in ("true", "on", "1") for setting in settings)


def min_compute_capability(triton_flags: Sequence[str]) -> tuple[int, int]:
    """Return the least compute capability of a GPU that Triton uses, 6.0 unless flags say another."""
    asked = _values(triton_flags, "--min-supported-compute-capability")
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?", asked[-1] if asked else "6.0")
    return (int(match[1]), int(match[2] or 0)) if match else (6, 0)


def expected_models(models: tuple[ModelFolder, ...], triton_flags: Sequence[str]) -> tuple[str, ...]:
    """Return the models that will be loaded: all of them, unless the flags say which."""
    flags = [flag.partition("=") for flag in triton_flags]
    named = [value for name, _, value in flags if name == "--load-model"]
    explicit = ("--model-control-mode", "=", "explicit") in flags
    return tuple(model.name for model in models if not explicit or model.name in named or named == ["*"])


def _values(triton_flags: Sequence[str], name: str) -> list[str]:
    """Return what a flag is given, as --name=value or as two words."""
    words = [word for flag in triton_flags for word in (flag.split("=", 1) if flag.startswith("--") else [flag])]
    return [value for word, value in itertools.pairwise(words) if word == name]
