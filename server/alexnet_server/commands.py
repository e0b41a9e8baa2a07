"""The commands that mend a repository: what is known of an engine in, a line to type out. Findings carry them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from alexnet_server.manifest import EngineRecord

_BUILD = ["alexnet-build", "repository"]


def build_command(repository: Path, engine: str) -> str:
    """Return the command that builds an engine of the network that a repository serves into it.

    Args:
        repository: the folder.
        engine: "tensorrt" or "onnxruntime".
    """
    words = [*_BUILD, "--weights", weights_of(repository), "--engine", engine, "--output", str(repository)]
    return shlex.join(words)


def rebuild_command(
    repository: Path,
    record: EngineRecord | None,
    engine: str,
    *,
    max_batch: int | None = None,
    keep_other_gpus: bool = False,
) -> str:
    """Return the command that builds an engine once more, into this repository and on this machine.

    Args:
        repository: the folder.
        record: what the manifest says of the engine, with the command that made it.
        engine: "tensorrt" or "onnxruntime".
        max_batch: the largest batch, if it has to be another one.
        keep_other_gpus: whether the plans for other GPUs have to stay.
    """
    try:
        words = shlex.split((record and record.command) or "")
    except ValueError:  # an open quotation
        words = []
    if words[:2] != _BUILD:
        words = shlex.split(build_command(repository, engine))
    words = _with_option(words, "--output", str(repository))
    if max_batch is not None:
        words = _with_option(words, "--max-batch", str(max_batch))
    if keep_other_gpus and "--keep-other-gpus" not in words:
        words.append("--keep-other-gpus")
    return shlex.join(words)


def weights_of(repository: Path) -> str:
    """Return what `alexnet-build --weights` has to be for the network that a repository serves.

    The newest engine's manifest says it; without an engine, the labels tell ImageNet's network from others.
    """
    model = repository / "alexnet"
    try:
        manifests = [path for path in model.glob("*/manifest.json") if path.parent.name.isdecimal()]
        newest = max(manifests, key=lambda path: int(path.parent.name))
        return str(json.loads(newest.read_text(encoding="utf-8"))["weights"]["source"]).rsplit(" (", 1)[0]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or one that says nothing
    try:
        classes = len((model / "labels.txt").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return "demo"
    return "imagenet" if classes == 1000 else "demo"


def _with_option(words: list[str], option: str, value: str) -> list[str]:
    """Give an option of a command line another value, or add the option."""
    joined = [i for i, word in enumerate(words) if word.startswith(f"{option}=")]
    if joined:
        return [*words[: joined[0]], f"{option}={value}", *words[joined[0] + 1 :]]
    place = words.index(option) if option in words else len(words)
    return [*words[:place], option, value, *words[place + 2 :]]
