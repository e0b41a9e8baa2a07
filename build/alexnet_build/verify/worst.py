"""The views that an engine was worst on, as one picture.

In: ``Views`` and a ``Parity``. Out: a PNG file: each view with what both sides say. Called when a build is refused and
by ``alexnet-build verify --output``. Drawn with Pillow, which building needs anyway.
"""

from __future__ import annotations

from pathlib import Path

from alexnet_build.verify.parity import Parity
from alexnet_build.verify.views import Views

_SIDE = 227
_MARGIN = 12
_LINE = 18
_COLUMNS = 4
_INK = (40, 40, 40)
_DISAGREES = (176, 24, 24)


def write_worst(parity: Parity, views: Views, path: Path) -> None:
    """Draw the worst views of a comparison, each above what torch and the engine say; red where those differ."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    rows = -(-len(parity.worst) // _COLUMNS)
    cell = (_SIDE + _MARGIN, _SIDE + 4 * _LINE + _MARGIN)
    columns = min(_COLUMNS, len(parity.worst))
    sheet = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, worst in enumerate(parity.worst):
        left, top = _MARGIN + place % _COLUMNS * cell[0], _MARGIN + place // _COLUMNS * cell[1]
        sheet.paste(Image.fromarray(views.pixels[worst.index]).resize((_SIDE, _SIDE)), (left, top))
        colour = _INK if worst.expected[0] == worst.got[0] else _DISAGREES
        lines = [worst.name, *(f"{who}: {label} {p:.3f}" for who, (label, p) in _sides(worst.expected, worst.got))]
        lines.append(f"largest difference {worst.difference:.1e}")
        for number, line in enumerate(lines):
            while draw.textlength(line, font=font) > _SIDE:
                line = f"{line.removesuffix('…')[:-1]}…"
            draw.text(
                (left, top + _SIDE + 2 + number * _LINE), line, fill=colour if number in (1, 2) else _INK, font=font
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _sides(expected: tuple[str, float], got: tuple[str, float]) -> list[tuple[str, tuple[str, float]]]:
    return [("torch", expected), ("engine", got)]
