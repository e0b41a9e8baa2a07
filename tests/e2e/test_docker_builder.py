"""The builder container's decision, on the manifest of a repository that was really built."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_manifest_says_what_the_builder_compares(repository: Path) -> None:
    builder = runpy.run_path(str(ROOT / "docker" / "build_if_needed.py"))

    manifest = builder["newest_manifest"]({"MODEL_REPOSITORY": str(repository)})

    command = f"alexnet-build repository --weights demo --engine onnxruntime --precision fp32 --output {repository}"
    there = builder["Wanted"](command, manifest["builder_version"], manifest["compute_capability"])
    assert builder["why_build"](manifest, there) == []
