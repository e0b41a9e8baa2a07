"""An inspection as text for a terminal: latency, layers, memory, ceilings.

In: an ``Inspection``. Out: text. Called by ``alexnet-build inspect``.
"""

from __future__ import annotations

from collections.abc import Sequence

from alexnet_build.insight.ceilings import Ceilings
from alexnet_build.insight.inspection import Inspection
from alexnet_build.insight.layers import Layer, short_names
from alexnet_build.insight.units import three_digits, time_unit, with_prefix

#: Layers below this share of the time, at every batch size, are one line together; JSON and CSV have them all.
SMALL = 0.003
_LONGEST_TACTIC = 48


def table(inspection: Inspection) -> str:
    """What it is, latency by batch size, the layers, memory, and the ceilings."""
    parts = [f"{inspection.source}\n{inspection.engine} on {inspection.device}"]
    parts += [_timings(inspection), _layers(inspection)]
    facts = [[name, value] for name, value in inspection.facts.items()]
    memory = [[f"memory: {name}", f"{size / 1e6:,.1f} MB"] for name, size in inspection.memory.items()]
    parts += ["\n".join(_columns([*facts, *memory], left=(0,)))]
    rows = [_ceilings_row(each) for each in (inspection.ceilings, inspection.published) if each is not None]
    parts += ["\n".join(_columns(_with_head(["ceilings", "memory", "arithmetic"], rows), left=(0, 2)))]
    return "\n\n".join(parts)


def _timings(inspection: Inspection) -> str:
    on_gpu = any(timing.device_ms is not None for timing in inspection.timings)
    heads = ["batch", "p50 ms", "p99 ms", "images/s"]
    heads += ["on the GPU ms", "with a CUDA graph ms"] if on_gpu else []
    rows = []
    for timing in inspection.timings:
        row = [str(timing.batch_size), three_digits(timing.p50_ms), three_digits(timing.p99_ms)]
        row.append(three_digits(timing.images_per_s))
        if on_gpu:
            on_device = (timing.device_ms, timing.graph_ms)
            row += ["–" if value is None else three_digits(value) for value in on_device]
        rows.append(row)
    return "\n".join(_columns(_with_head(heads, rows)))


def _layers(inspection: Inspection) -> str:
    """One line a layer: times at every batch size, the rest at the largest."""
    largest, sizes = inspection.largest_batch, sorted(inspection.layers)
    times = {size: inspection.milliseconds(size) for size in sizes}
    totals = {size: sum(times[size].values()) for size in sizes}
    scale, unit = time_unit(totals[largest])
    layers = inspection.layers[largest]
    with_tactics = any(layer.tactic for layer in layers)
    heads = [
        "layer",
        "operator",
        "precision",
        "output",
        "weights MB",
        *(f"{unit} at {size}" for size in sizes),
        "share",
    ]
    heads += ["FLOP/s", "FLOP/byte", "of the roof", "bound by"] + ["tactic"] * with_tactics

    def row(name: str, what: Sequence[str], spent: dict[int, float], rest: Sequence[str]) -> list[str]:
        numbers = [three_digits(scale * spent[size]) for size in sizes]
        share = spent[largest] / totals[largest] if totals[largest] else 0.0
        return [name, *(what or [""] * 4), *numbers, f"{share:.1%}", *(rest or [""] * (4 + with_tactics))]

    rows, small, folded = [], dict.fromkeys(sizes, 0.0), 0
    for name, layer in zip(short_names(layers), layers, strict=True):
        spent = {size: times[size].get(layer.name, 0.0) for size in sizes}
        if all(spent[size] < SMALL * totals[size] for size in sizes):
            folded += 1
            small = {size: small[size] + spent[size] for size in sizes}
            continue
        tactic = [_shortened(layer.tactic)] if with_tactics else []
        rows.append(row(name, _what(layer), spent, [*_roof(layer, inspection.ceilings), *tactic]))
    if folded:
        rows.append(row(f"{folded} other{'s' * (folded > 1)}", [], small, []))
    rows.append(row("together", [], totals, []))
    lines = _columns(_with_head(heads, rows), left=(0, 1, 2, 3, *range(len(heads) - 1 - with_tactics, len(heads))))
    return "\n".join([f"layers; shares and rates at batch {largest}", "", *lines])


def _what(layer: Layer) -> list[str]:
    """Operator, precision, one image's output, and weights."""
    output = "×".join(map(str, layer.outputs[0].dims[1:])) if layer.outputs else ""
    weights = f"{layer.weights_bytes / 1e6:.2f}" if layer.weights_bytes >= 5e3 else ""
    return [layer.operator, layer.precision, output, weights]


def _roof(layer: Layer, ceilings: Ceilings) -> list[str]:
    """Operations a second, intensity, share of the roof, and which of its sides is above the layer."""
    if layer.intensity is None or layer.flops_per_s is None:
        return ["", "", "", ""]
    roof = ceilings.roof(layer.intensity, layer.precision)
    share = "" if roof is None else f"{layer.flops_per_s / roof:.0%}"
    bound = ceilings.bound(layer.intensity, layer.precision)
    return [with_prefix(layer.flops_per_s), three_digits(layer.intensity), share, bound]


def _ceilings_row(ceilings: Ceilings) -> list[str]:
    flops = ", ".join(f"{name} {with_prefix(value)}FLOP/s" for name, value in ceilings.flops_per_s.items())
    return [ceilings.source, f"{with_prefix(ceilings.bytes_per_s)}B/s", flops]


def _shortened(tactic: str) -> str:
    return tactic if len(tactic) <= _LONGEST_TACTIC else tactic[: _LONGEST_TACTIC - 1] + "…"


def _with_head(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The rows below their heads and a rule."""
    return [heads, ["─" * max(map(len, column)) for column in zip(heads, *rows, strict=True)], *rows]


def _columns(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Lines with columns as wide as their widest cell; those in ``left`` begin at their left, numbers end right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
