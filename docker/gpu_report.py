"""What docker/verify-gpu.sh found, as one page of Markdown.

In: its output folder: steps.tsv, gpu.txt, and per precision a repository, verify.json and inspect.json; what a failed
step did not write is left out. Out: report.md in the same folder, and on stdout. Runs in the builder's container.

    python3 docker/gpu_report.py DIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")


def main() -> None:
    """Write and print the report."""
    folder = Path(sys.argv[1])
    text = report(folder)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print(text)


def report(folder: Path) -> str:
    """Return the report of an output folder."""
    steps = [line.split("\t") for line in (folder / "steps.tsv").read_text(encoding="utf-8").splitlines()]
    failed = [name for name, result, _ in steps if result != "passed"]
    verdict = f"**{len(failed)} of {len(steps)} steps failed: {', '.join(failed)}**" if failed else "All steps passed."
    parts = ["# Acceptance on a GPU", verdict, precisions_table(folder), layers_table(folder), tuning_lines(folder)]
    parts += [table(("step", "result", "s"), steps), f"```text\n{text_of(folder / 'gpu.txt').strip()}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def precisions_table(folder: Path) -> str:
    """Size, speed and agreement of the plan in each precision."""
    rows = []
    for precision in PRECISIONS:
        manifest = read_json(folder / precision / "alexnet" / "1" / "manifest.json")
        if not manifest:
            continue
        parity = manifest["parity"]
        batches = {
            batch["batch_size"]: batch
            for batch in read_json(folder / f"inspect-{precision}" / "inspect.json").get("batches", [])
        }
        one, largest = batches.get(1, {}), batches.get(max(batches, default=0), {})
        rows.append([
            precision, f"{manifest['engine_bytes'] / 1e6:.1f}", number(one.get("p50_ms"), ".3f"),
            number(one.get("graph_ms"), ".3f"), number(largest.get("images_per_s"), ",.0f"),
            f"{parity['top1_agreement']:.2%}", f"{parity['max_probability_difference']:.1e}",
            f"{parity['mean_probability_difference']:.1e}",
            number(parity["accuracy"], ".2%"), number(parity["reference_accuracy"], ".2%"),
            ", ".join((manifest.get("quantised") or {}).get("kept", ())) or "–",
        ])  # fmt: skip
    heads: tuple[str, ...] = (
        "precision",
        "plan MB",
        "batch 1: ms",
        "on the GPU, graph: ms",
        "largest batch: images/s",
        "same first class",
    )
    return (
        table((*heads, "largest difference", "mean", "accuracy", "torch", "layers left higher"), rows) if rows else ""
    )


def layers_table(folder: Path) -> str:
    """The five slowest layers of each precision at its largest batch."""
    rows = []
    for precision in PRECISIONS:
        batches = read_json(folder / f"inspect-{precision}" / "inspect.json").get("batches", [])
        if not batches:
            continue
        layers = [layer for layer in batches[-1]["layers"] if layer["milliseconds"]]
        slowest = sorted(layers, key=lambda layer: -layer["milliseconds"])[:5]
        together = sum(layer["milliseconds"] for layer in layers)
        named = [f"{layer['label']} {layer['milliseconds'] / together:.0%}" for layer in slowest]
        rows.append([precision, batches[-1]["batch_size"], ", ".join(named)])
    return table(("precision", "batch", "slowest layers, share of the time"), rows) if rows else ""


def tuning_lines(folder: Path) -> str:
    """What was tuned, as it stands beside the models."""
    text = text_of(folder / "fp16" / "tuning.json")
    return f"<details><summary>tuning.json</summary>\n\n```json\n{text.strip()}\n```\n</details>" if text else ""


def table(heads: tuple[str, ...], rows: list[Any]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def number(value: float | None, form: str) -> str:
    """A number in a format; a dash for none."""
    return "–" if value is None else f"{value:{form}}"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where the file is missing."""
    text = text_of(path)
    return json.loads(text) if text else {}


def text_of(path: Path) -> str:
    """A file's text; nothing where it is missing."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    main()
