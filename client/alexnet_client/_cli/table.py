"""Results as a table for the eye, written image by image, in columns that fit the terminal.

On a terminal: colour, bars, names shortened on the left, where paths are alike. Elsewhere: the same columns
as plain text, nothing shortened.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from alexnet_client._predictions import Prediction, Result

PLAIN_WIDTH = 100  # where there is no terminal to ask
LONGEST_PLAIN_NAME = 60
LONGEST_LABEL = 36  # longer ones are rare among ImageNet's labels, and a wider gap leads the eye astray
SCORE_WIDTH, TIME_WIDTH, GAP = 7, 9, "  "
EIGHTHS = " ▏▎▍▌▋▊▉█"


class TableWriter:
    """Photograph, labels with their scores, milliseconds.

    Args:
        console: The console on stdout.
        longest_name: Columns of the longest name among the images, as far as that is known; 0 if it is not.
    """

    def __init__(self, console: Console, longest_name: int = 0) -> None:
        self._console = console
        self._fancy = console.is_terminal
        self._width = width = min(console.width, 140) if self._fancy else PLAIN_WIDTH
        self._bar_width = (16 if width >= 110 else 10) if self._fancy and width >= 72 else 0
        bar = self._bar_width + len(GAP) if self._bar_width else 0
        free = max(24, width - SCORE_WIDTH - TIME_WIDTH - bar - 3 * len(GAP))
        wanted = max(longest_name, len("photograph")) if longest_name else free // 2
        self._name_width = min(wanted, free // 2 if self._fancy else LONGEST_PLAIN_NAME)
        self._label_width = min(free - self._name_width, LONGEST_LABEL) if self._fancy else LONGEST_LABEL

    def begin(self) -> None:
        """The heads of the columns."""
        bar = [self._fit("", self._bar_width)] if self._bar_width else []
        heads = [self._fit("photograph", self._name_width), self._fit("label", self._label_width)]
        heads += ["score".rjust(SCORE_WIDTH), *bar, "time".rjust(TIME_WIDTH)]
        self._print(Text(GAP.join(heads), style="bold"))

    def write(self, result: Result) -> None:
        """One image: a line a prediction, its name and time on the first."""
        name = Text(self._fit(result.image, self._name_width), style="cyan")
        if result.error is not None:
            reason = result.error.message.removeprefix(f"{result.image}: ")
            self._print_failure(name, f"failed: {reason}".translate(CONTROL))
            return
        time = f"{result.latency_s * 1000:.1f} ms".rjust(TIME_WIDTH)
        for rank, prediction in enumerate(result.predictions):
            first = rank == 0
            start = name if first else Text(" " * self._name_width)
            line = Text.assemble(start, GAP, self._prediction(prediction, first), GAP, (time if first else "", "dim"))
            self._print(line)

    def end(self) -> None:
        """Nothing."""

    def _print_failure(self, name: Text, reason: str) -> None:
        """On a terminal the reason is wrapped, not cut: it is what the eye looks for."""
        lines = [Text(reason)]
        if self._fancy:
            lines = list(lines[0].wrap(self._console, self._width - self._name_width - len(GAP)))
        for line in lines:
            line.rstrip()
            line.stylize("red")
            self._print(Text.assemble(name, GAP, line))
            name = Text(" " * self._name_width)

    def _prediction(self, prediction: Prediction, first: bool) -> Text:
        label = self._fit(prediction.label or f"(class {prediction.index})", self._label_width, keep_end=False)
        line = Text.assemble((label, "bold" if first else ""), GAP, f"{prediction.score:.4f}".rjust(SCORE_WIDTH))
        if self._bar_width:
            line.append(GAP)
            line.append(bar(prediction.score, self._bar_width), style="green" if first else "bright_black")
        return line

    def _fit(self, text: str, width: int, keep_end: bool = True) -> str:
        """``text`` in exactly ``width`` columns; on plain output longer text keeps its length."""
        text = text.translate(CONTROL)
        if cell_len(text) <= width:
            return set_cell_size(text, width)
        if not self._fancy:
            return text
        if not keep_end:
            return set_cell_size(text, width - 1) + "…"
        while cell_len(text) > width - 1:
            text = text[1:]
        return set_cell_size("…" + text, width)

    def _print(self, line: Text) -> None:
        line.rstrip()
        if self._fancy:
            self._console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
        else:
            print(line.plain, file=self._console.file, flush=True)


# a label or a file name must not move the cursor or change colours
CONTROL = dict.fromkeys([*range(32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")


def bar(score: float, width: int) -> str:
    """A bar of ``width`` columns for a score in [0, 1], in eighths of a column."""
    eighths = round(min(max(score, 0.0), 1.0) * width * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[part] if part else "")).ljust(width)
