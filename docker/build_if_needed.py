"""Builds the model repository, unless the newest engine in it is the one that would be built.

What the builder container runs. In, from the environment: MODEL_REPOSITORY, WEIGHTS, PRECISION, MAX_BATCH,
BUILD_OPTIONS (any further options of alexnet-build repository) and, as a check of the image, TENSORRT_VERSION.
Out: a repository whose newest version has an engine that fits this container and its GPU.

    docker compose -f docker/compose.yaml run --rm builder              # if needed
    docker compose -f docker/compose.yaml run --rm builder --rebuild    # in any case
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Wanted:
    """The engine that would be built now; the manifest next to an engine says the same of that one.

    Attributes:
        command: the command line that builds it, one string.
        builder_version: of this container's TensorRT, e.g. 11.3.0.99.
        compute_capability: of this container's GPU, e.g. 8.9.
    """

    command: str
    builder_version: str
    compute_capability: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Say why a build is needed and turn into `alexnet-build`, or say that none is and end."""
    parser = argparse.ArgumentParser(description="Build the model repository unless the engine in it fits.")
    parser.add_argument("--rebuild", action="store_true", help="build in any case, as a further version")
    rebuild = parser.parse_args(arguments).rebuild
    try:
        wanted = Wanted(
            build_command(os.environ),
            tensorrt_version(os.environ["TENSORRT_VERSION"]),
            gpu_compute_capability(),
        )
    except RuntimeError as error:
        sys.exit(f"builder: {error}")
    reasons = ["asked for with --rebuild"] if rebuild else why_build(newest_manifest(os.environ), wanted)
    if not reasons:
        print("builder: the engine fits, nothing to build", file=sys.stderr)
        return
    print("builder: building, because\n  " + "\n  ".join(reasons), file=sys.stderr, flush=True)
    command = shlex.split(wanted.command)
    os.execvp(command[0], command)


def build_command(environment: Mapping[str, str]) -> str:
    """Return the command line that builds what the environment asks for."""
    options = {
        "--weights": environment["WEIGHTS"],
        "--engine": "tensorrt",
        "--precision": environment["PRECISION"],
        "--max-batch": environment["MAX_BATCH"],
        "--output": environment["MODEL_REPOSITORY"],
    }
    words = [word for option in options.items() for word in option] + shlex.split(environment.get("BUILD_OPTIONS", ""))
    return shlex.join(["alexnet-build", "repository", *words])


def why_build(manifest: Mapping[str, Any] | None, wanted: Wanted) -> list[str]:
    """Return what tells the engine that is there from the one that would be built; empty if nothing does.

    Args:
        manifest: of the newest engine, None if there is none.
        wanted: the engine that would be built.
    """
    if manifest is None:
        return ["there is no engine, or none that says how it was built"]
    # A version may hold plans for several GPUs: the one for this GPU counts.
    for plan in manifest.get("other_gpus", ()):
        if plan.get("compute_capability") == wanted.compute_capability:
            manifest = plan
    differences = {
        "command": (manifest.get("command"), wanted.command),
        "TensorRT": (manifest.get("builder_version"), wanted.builder_version),
        "compute capability": (manifest.get("compute_capability"), wanted.compute_capability),
    }
    return [f"{what}: {there} there, {here} here" for what, (there, here) in differences.items() if there != here]


def newest_manifest(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the manifest of the version that Triton would serve; None if there is none."""
    model = Path(environment["MODEL_REPOSITORY"]) / "alexnet"
    versions = [folder for folder in model.glob("[1-9]*") if folder.name.isdecimal()]
    newest = max(versions, key=lambda folder: int(folder.name), default=None)
    if newest is None or not (newest / "manifest.json").is_file():
        return None
    manifest: dict[str, Any] = json.loads((newest / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def tensorrt_version(pinned: str) -> str:
    """Return the version of this container's TensorRT.

    Args:
        pinned: its beginning, as docker/.env has it.

    Raises:
        RuntimeError: it is another one, so the server could not load what is built here.
    """
    import tensorrt

    version: str = tensorrt.__version__
    if not f"{version}.".startswith(f"{pinned}."):
        raise RuntimeError(
            f"this image has TensorRT {version}, but docker/.env says TENSORRT_VERSION={pinned}\n"
            "  next: set there the TensorRT that NVIDIA's release notes give for TRITON_TAG"
        )
    return version


def gpu_compute_capability() -> str:
    """Return the compute capability of this container's GPU, e.g. 8.9.

    Raises:
        RuntimeError: there is no GPU in this container.
    """
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f"no NVIDIA GPU in this container ({error})\n"
            "  next: install the NVIDIA Container Toolkit, then: docker compose -f docker/compose.yaml up"
        ) from error
    return answer.stdout.split()[0]


if __name__ == "__main__":
    main()
