"""A running server whose models can be given other settings, without touching a file.

In: a server's address and the repository that it serves. Out: settings applied, answers, and at the end the settings
of the repository's files again. Called by ``run`` and ``graphs``.

What Triton's model repository extension ("load" with the parameter "config") does was tried on Triton 2.51:
the new config is loaded while the old one serves; the ensemble goes on with whatever is loaded; a config that
cannot be loaded leaves the old one serving. Two things are not what one would expect. A load without a config does
not bring the file's config back while the file is unchanged: the file's config has to be sent. And where only the
number of instances differs, instances that exist are kept, along with the threads that they chose when they
started; so each candidate carries a parameter that no other has.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from alexnet_build.tensors import ALEXNET, CLASSIFIER, IMAGE, PIXELS, PREPROCESS, PROBABILITIES
from alexnet_build.tuning.errors import CandidateRefusedError, TuningError
from alexnet_build.tuning.settings import Tuning, apply_tuning, tuning_from_configs

EXPLICIT_FLAGS = ("--model-control-mode=explicit", "--load-model=*")
TUNED_MODELS = (PREPROCESS, ALEXNET)
#: Distinguishes a candidate from every other; no backend reads it.
CANDIDATE = "tuning_candidate"
LOAD_TIMEOUT_S = 180  # TensorRT captures graphs and warms up; ONNX Runtime computes a whole batch on a CPU
CALL_TIMEOUT_S = 60


def config_from_file(repository: Path, model: str) -> Any:
    """A model's config as its file has it, a ``model_config_pb2.ModelConfig``.

    Raises:
        TuningError: There is none, or none that Triton would read.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    path = repository / model / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise TuningError(
            f"{path} cannot be read: {error}; expected a repository that alexnet-build repository has made"
        ) from error
    config.name = model
    return config


class LiveServer:
    """Applies settings to the models of a running server.

    Args:
        url: HOST:PORT of its gRPC service.
        repository: The folder that it serves, or the same repository elsewhere.

    Raises:
        TuningError: It serves something else, or does not let models be loaded.
    """

    def __init__(self, url: str, repository: Path) -> None:
        from tritonclient.grpc import InferenceServerClient

        self.url = url
        self._repository = repository
        self._files = {model: config_from_file(repository, model) for model in TUNED_MODELS}
        self._loaded: dict[str, Any] = {}
        self._candidates = 0
        self._client = InferenceServerClient(url)
        try:
            self._refuse_other_models()
            self.restore()
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def version(self) -> str:
        """Triton's version, e.g. ``2.51.0``."""
        return str(self._call(self._client.get_server_metadata).version)

    @property
    def tuning(self) -> Tuning:
        """The settings that the repository's files say."""
        return tuning_from_configs(self._files[PREPROCESS], self._files[ALEXNET])

    @property
    def max_batch(self) -> int:
        """The network's largest batch."""
        return int(self._files[ALEXNET].max_batch_size)

    def served(self, model: str) -> Any:
        """The config that the server has loaded for a model, filled up with Triton's defaults."""
        return self._call(self._client.get_model_config, model).config

    def apply(self, tuning: Tuning) -> None:
        """Load the models whose settings are others than those loaded now.

        Raises:
            CandidateRefusedError: The server would not load a model so; it serves on with what was loaded before.
            TuningError: The server does not answer.
        """
        for model, file in self._files.items():
            config = type(file)()
            config.CopyFrom(file)
            apply_tuning(config, tuning)
            if config == self._loaded.get(model):
                continue
            self._candidates += 1
            marked = type(config)()
            marked.CopyFrom(config)
            marked.ClearField("model_warmup")  # a whole batch on a CPU takes longer than a turn; each turn warms up
            marked.parameters[CANDIDATE].string_value = str(self._candidates)
            self._load(marked)
            self._loaded[model] = config

    def restore(self) -> None:
        """Load what the repository's files say now, and look whether that is what is served."""
        for model in TUNED_MODELS:
            config = config_from_file(self._repository, model)
            self._load(config)
            self._files[model] = self._loaded[model] = config

    def infer_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Ask the network alone: (n, S, S, 3) uint8 to (n, C) float32."""
        return self._infer(ALEXNET, PIXELS, "UINT8", pixels)

    def infer_images(self, image_bytes: np.ndarray) -> np.ndarray:
        """Ask the ensemble: (n, 1) encoded photographs, an array of ``bytes``, to (n, C) float32."""
        return self._infer(CLASSIFIER, IMAGE, "BYTES", image_bytes)

    def _infer(self, model: str, name: str, datatype: str, content: np.ndarray) -> np.ndarray:
        from tritonclient.grpc import InferInput

        tensor = InferInput(name, list(content.shape), datatype)
        tensor.set_data_from_numpy(content)
        return self._call(self._client.infer, model, [tensor]).as_numpy(PROBABILITIES)

    def _load(self, config: Any) -> None:
        from google.protobuf import json_format
        from tritonclient.utils import InferenceServerException

        text = json_format.MessageToJson(config, preserving_proto_field_name=True)
        try:
            self._client.load_model(config.name, config=text, client_timeout=LOAD_TIMEOUT_S)
        except InferenceServerException as error:
            if "load / unload is not allowed" in error.message():
                raise TuningError(
                    f"the server at {self.url} does not let models be loaded ({error.message()}); "
                    f"start it with: {' '.join(EXPLICIT_FLAGS)}"
                ) from error
            gone = error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
            if gone and not any(words in error.message() for words in ("load failed", "failed to load")):
                raise self._unreachable(error) from error
            raise CandidateRefusedError(error.message().strip()) from error
        wanted = config.parameters[CANDIDATE].string_value if CANDIDATE in config.parameters else None
        served = self.served(config.name)
        found = served.parameters[CANDIDATE].string_value if CANDIDATE in served.parameters else None
        if found != wanted:
            raise TuningError(
                f"the server at {self.url} said that it loaded {config.name}, but serves other settings: "
                f"candidate {found}, expected {wanted}. Does somebody else load its models?"
            )

    def _refuse_other_models(self) -> None:
        """Figures of another network, or of another folder's, would be written into this repository."""
        for model, file in self._files.items():
            served = self.served(model)
            ours, theirs = _identity(file), _identity(served)
            if ours != theirs:
                raise TuningError(
                    f"the server at {self.url} serves another {model} than {self._repository}: {theirs}, "
                    f"expected {ours}. Give the repository that it serves, or start it on this one"
                )

    def _call(self, function: Any, *arguments: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return function(*arguments, client_timeout=CALL_TIMEOUT_S)
        except InferenceServerException as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Any) -> TuningError:
        return TuningError(f"the server at {self.url} does not answer as expected: {error}")


def _identity(config: Any) -> str:
    tensors = [
        f"{tensor.name} {list(tensor.dims)}" for tensor in (*config.input, *config.output)
    ]  # Triton's defaults change nothing of these
    return f"{config.backend}, batches up to {config.max_batch_size}, {', '.join(tensors)}"
