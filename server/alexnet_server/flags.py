"""Flags for tritonserver that a user adds: which are refused, and which models they load."""

from __future__ import annotations

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


def expected_models(models: tuple[ModelFolder, ...], triton_flags: Sequence[str]) -> tuple[str, ...]:
    """Return the models that will be loaded: all of them, unless the flags say which."""
    flags = [flag.partition("=") for flag in triton_flags]
    named = [value for name, _, value in flags if name == "--load-model"]
    explicit = ("--model-control-mode", "=", "explicit") in flags
    return tuple(model.name for model in models if not explicit or model.name in named or named == ["*"])
