"""Reads and writes a repository's ``config.pbtxt`` as Triton's own protobuf, and finds its network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


def config_of(repository: Path, model: str) -> Any:
    """Return a model's config: ``model_config_pb2.ModelConfig``."""
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def write_config(repository: Path, config: Any) -> None:
    """Write a config into its model's folder."""
    text = text_format.MessageToString(config)
    (repository / config.name / "config.pbtxt").write_text(text, encoding="utf-8")


def newest_network(repository: Path) -> Path:
    """Return the network's ONNX file of the newest version, which is the one that is served.

    Raises:
        FileNotFoundError: there is none, as in a repository for TensorRT.
    """
    files = sorted((repository / "alexnet").glob("[0-9]*/model.onnx"), key=lambda path: int(path.parent.name))
    if not files:
        raise FileNotFoundError(
            f"no model.onnx in the versions of {repository / 'alexnet'}; "
            f"build it with: alexnet-build repository --engine onnxruntime --output {repository}"
        )
    return files[-1]
