"""tuning.json, beside the models: the settings that were chosen, where, when, and every candidate with its figures.

In: what a search found. Out: the file, and the configs rendered with the settings; and back, when an engine is
published again. Triton takes folders for models and passes the file over.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_build.configs import HEADER, Engine
from alexnet_build.tuning.errors import TuningError
from alexnet_build.tuning.graphs import GraphsTrial
from alexnet_build.tuning.live import TUNED_MODELS, config_from_file
from alexnet_build.tuning.machine import Machine, this_machine
from alexnet_build.tuning.search import Found
from alexnet_build.tuning.settings import NAMES, Tuning, apply_tuning

TUNING_FILE = "tuning.json"


@dataclass(frozen=True)
class Record:
    """All of tuning.json.

    Attributes:
        settings: What was chosen.
        machine: Of the server.
        triton: The server's version.
        engine: What ran the network: ``engine``, ``precision`` and ``engine_sha256`` of its manifest.
        load: What was sent: concurrency, photographs, seconds of a turn, limits.
        found: The search.
        graphs: CUDA graphs; None if nobody asked for them.
        measured_at: When, ISO 8601.
        made_by: This package and its version.
        command: The command line.
    """

    settings: Tuning
    machine: Machine
    triton: str
    engine: dict[str, str | None]
    load: dict[str, Any]
    found: Found
    graphs: GraphsTrial | None
    measured_at: str
    made_by: str
    command: str


def json_from_record(record: Record) -> str:
    """The text of tuning.json."""
    return json.dumps(asdict(record), indent=2) + "\n"


def write_tuning(repository: Path, record: Record) -> None:
    """Render the repository's configs with the settings, and write tuning.json.

    Raises:
        TuningError: A file cannot be written; each file is as it was, or new and whole.
    """
    texts = {f"{model}/config.pbtxt": tuned_config_text(repository, model, record.settings) for model in TUNED_MODELS}
    texts[TUNING_FILE] = json_from_record(record)
    for name, text in texts.items():
        path = repository / name
        partial = path.with_name(f".{path.name}.part")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TuningError(f"{path} cannot be written: {error.strerror}") from error


def tuned_config_text(repository: Path, model: str, tuning: Tuning) -> str:
    """A model's config with other settings; what else its file says stays, comments apart."""
    from google.protobuf import text_format

    config = config_from_file(repository, model)
    apply_tuning(config, tuning)
    return HEADER + text_format.MessageToString(config)


def read_tuning(repository: Path, engine: Engine, max_batch: int) -> Tuning | None:
    """The settings that a new engine in this repository is to be served with: those of tuning.json, if they fit it.

    What does not fit, or was measured elsewhere, is said on stderr.

    Args:
        repository: A model repository, or a folder that is to become one.
        engine: What runs the network from now on. Settings for another are not taken over.
        max_batch: The largest batch from now on. Larger preferred batches are not taken over.

    Returns:
        The settings; None without any that fit. CUDA graphs are off: their answers were compared with another
        engine's.

    Raises:
        TuningError: There is a tuning.json that cannot be read.
    """
    path = repository / TUNING_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tuning = tuning_from_json(content["settings"])
        machine = Machine(**{**content["machine"], "gpus": tuple(content["machine"]["gpus"])})
        measured_engine = content["engine"]["engine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TuningError(f"{path} cannot be read ({error!r}); tune again, or delete it") from error
    if measured_engine != engine:
        _note(f"{path} was measured with {measured_engine}, this is {engine}: built with default settings", repository)
        return None
    here = this_machine()
    if (machine.cores, machine.gpus) != (here.cores, here.gpus):
        _note(f"{path} was measured on {machine}, this is {here}: its settings are kept", repository)
    if tuning.cuda_graphs:
        _note("CUDA graphs were tested with another engine: off until tune --cuda-graphs has tested this", repository)
    kept = replace(
        tuning,
        cuda_graphs=False,
        preprocess_batch_sizes=tuple(size for size in tuning.preprocess_batch_sizes if size <= max_batch),
        alexnet_batch_sizes=tuple(size for size in tuning.alexnet_batch_sizes if size <= max_batch),
    )
    if replace(kept, cuda_graphs=tuning.cuda_graphs) != tuning:
        _note(f"{path} prefers batches larger than {max_batch}: those are left out", repository)
    return kept


def tuning_from_json(settings: dict[str, Any]) -> Tuning:
    """The settings of tuning.json.

    Raises:
        ValueError: A setting is missing, unknown, or of another kind.
    """
    defaults = asdict(Tuning())
    if settings.keys() != defaults.keys():
        raise ValueError(f"expected the settings {', '.join(defaults)}, got {', '.join(settings)}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    for name, value in values.items():
        kinds = (int, type(None)) if name == "decode_threads" else (type(defaults[name]),)
        if type(value) not in kinds or not all(
            type(size) is int for size in (value if isinstance(value, tuple) else ())
        ):
            raise ValueError(f"{NAMES[name]} is {value!r}")
    return Tuning(**values)


def _note(message: str, repository: Path) -> None:
    print(f"{message}\n  next: alexnet-build tune --repository {repository}", file=sys.stderr)
