"""What an inspection says, as JSON and as a folder of files; ``table`` has the text for a terminal.

In: an ``Inspection``. Out: text, and files. Called by ``alexnet-build inspect``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alexnet_build.insight.ceilings import Ceilings
from alexnet_build.insight.inspection import Inspection
from alexnet_build.insight.layers import short_names


def as_json(inspection: Inspection) -> str:
    """Everything, each layer at each batch size, as one JSON object; keys name their units."""
    content = {
        "source": inspection.source,
        "engine": inspection.engine,
        "device": inspection.device,
        "image_size": inspection.image_size,
        "classes": inspection.classes,
        "repeats": inspection.repeats,
        "facts": dict(inspection.facts),
        "memory_bytes": dict(inspection.memory),
        "batches": [
            {**asdict(timing), "layers": list(_layer_values(inspection, timing.batch_size))}
            for timing in inspection.timings
        ],
        "ceilings": _ceilings_values(inspection.ceilings),
        "published_ceilings": None if inspection.published is None else _ceilings_values(inspection.published),
    }
    return json.dumps(content, indent=2)


def write_files(directory: Path, inspection: Inspection) -> None:
    """Write inspect.json, layers.csv and the pictures."""
    from alexnet_build.insight.pictures import layers_figure, throughput_figure
    from alexnet_build.insight.roofline import roofline_figure

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "inspect.json").write_text(as_json(inspection) + "\n")
    rows = [
        {"batch_size": timing.batch_size, **values}
        for timing in inspection.timings
        for values in _layer_values(inspection, timing.batch_size)
    ]
    with (directory / "layers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figures = {
        "layers": layers_figure(inspection),
        "roofline": roofline_figure(inspection),
        "throughput": throughput_figure(inspection),
    }
    for name, figure in figures.items():
        figure.savefig(directory / f"{name}.png")


def _layer_values(inspection: Inspection, batch_size: int) -> Iterator[dict[str, Any]]:
    layers = inspection.layers[batch_size]
    for label, layer in zip(short_names(layers), layers, strict=True):
        roof = None if layer.intensity is None else inspection.ceilings.roof(layer.intensity, layer.precision)
        yield {
            "label": label,
            "name": layer.name,
            "kind": layer.kind,
            "operator": layer.operator,
            "precision": layer.precision,
            "inputs": " ".join(f"{t.element}[{','.join(map(str, t.dims))}]" for t in layer.inputs),
            "outputs": " ".join(f"{t.element}[{','.join(map(str, t.dims))}]" for t in layer.outputs),
            "weights_bytes": layer.weights_bytes,
            "moved_bytes": layer.moved_bytes,
            "flops": layer.flops,
            "milliseconds": layer.milliseconds,
            "flops_per_s": layer.flops_per_s,
            "bytes_per_s": layer.bytes_per_s,
            "flops_per_byte": layer.intensity,
            "roof_flops_per_s": roof,
            "tactic": layer.tactic,
            "stream": layer.stream,
        }


def _ceilings_values(ceilings: Ceilings) -> dict[str, Any]:
    return {
        "source": ceilings.source, "bytes_per_s": ceilings.bytes_per_s, "flops_per_s": dict(ceilings.flops_per_s),
    }  # fmt: skip
