"""A page for the eye: every image with its labels and scores, grouped by label. ``--contact-sheet FILE``.

In: results, one at a time. Out: one HTML file that needs no other (``contact_sheet.html`` is its frame). Without
Pillow it shows the originals, by their relative paths. Called by: ``classify``.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from urllib.parse import quote

from alexnet_client._predictions import Prediction, Result

from .files import WholeFile
from .path_lists import STDIN
from .progress import counted
from .thumbnails import can_make_thumbnails, thumbnail_url

SHOWN = 3  # predictions of an image; a card with more is a table
FEW = 3  # images of a group that does not get a row for itself


@dataclass(frozen=True)
class _Card:
    """Where an image's card lies in the spool, and by what it is sorted."""

    score: float
    offset: int
    length: int


class ContactSheet:
    """Collects cards on disk, so that memory does not grow with the pictures, and writes the page at the end.

    Args:
        path: The page.
        title: Its headline.
        stdin_bytes: The image whose name is ``-``.

    Raises:
        InvalidSetting: Nothing can be written there.
    """

    def __init__(self, path: str, title: str, stdin_bytes: bytes | None = None) -> None:
        self._page = WholeFile(path)
        self._folder = os.path.dirname(os.path.realpath(path))
        self._title, self._stdin_bytes = title, stdin_bytes
        self._inline = can_make_thumbnails()
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115  closed at the end
        self._groups: defaultdict[str, list[_Card]] = defaultdict(list)
        self._failures: list[str] = []

    def add(self, result: Result) -> None:
        """One image: a card, a line among those that failed, or nothing if no prediction was kept."""
        if result.error is not None:
            reason = result.error.message.removeprefix(f"{result.image}: ")
            self._failures.append(f"<li><b>{_text(result.image)}</b> {_text(reason)}</li>\n")
        elif result.predictions:
            card = self._card(result).encode()
            best = result.predictions[0]
            self._groups[_label(best)].append(_Card(best.score, self._spool.tell(), self._spool.write(card)))

    def end(self) -> None:
        """The page appears."""
        try:
            for part in self._parts():
                self._page.file.write(part)
            self._page.commit()
        except BaseException:
            self._page.discard()
            raise
        finally:
            self._spool.close()

    def discard(self) -> None:
        """No page after all."""
        self._spool.close()
        self._page.discard()

    def _parts(self) -> Iterator[bytes]:
        frame = files("alexnet_client._cli").joinpath("contact_sheet.html").read_text(encoding="utf-8")
        groups = sorted(self._groups.items(), key=lambda group: (-len(group[1]), group[0].casefold()))
        images = sum(len(cards) for _, cards in groups)
        facts = [counted(images, "image"), counted(len(groups), "label")]
        facts += [f'<a href="#failed">{len(self._failures)} failed</a>'] if self._failures else []
        links = (
            f'<a href="#label-{number}"><span>{_text(label)}</span><i>{len(cards)}</i></a>\n'
            for number, (label, cards) in enumerate(groups)
        )
        filled = Template(frame).substitute(
            title=_text(self._title),
            facts=" · ".join(facts),
            labels="".join(links),
            groups="\0",  # nothing else holds one: the groups are not kept in memory
            failures=self._failed(),
        )
        before, after = filled.split("\0")
        yield before.encode()
        for number, (label, cards) in enumerate(groups):
            few = ' class="few"' if len(cards) <= FEW else ""
            yield f'<section id="label-{number}"{few}>\n<h2>{_text(label)} <i>{len(cards)}</i></h2>\n<div>\n'.encode()
            for card in sorted(cards, key=lambda card: -card.score):
                self._spool.seek(card.offset)
                yield self._spool.read(card.length)
            yield b"</div>\n</section>\n"
        yield after.encode()

    def _failed(self) -> str:
        if not self._failures:
            return ""
        rows = "".join(self._failures)
        return f'<section id="failed">\n<h2>failed <i>{len(self._failures)}</i></h2>\n<ul>\n{rows}</ul>\n</section>\n'

    def _card(self, result: Result) -> str:
        name = _text(result.image)
        link = f' href="{html.escape(self._url(result.image))}" target="_blank"' if result.image != STDIN else ""
        rows = "".join(
            f'<li style="--score:{p.score:.4f}"><span>{_text(_label(p))}</span><b>{p.score:.1%}</b></li>'
            for p in result.predictions[:SHOWN]
        )
        return (
            f'<figure data-score="{result.predictions[0].score:.6f}">'
            f'<a{link} title="{name}">{self._picture(result.image, name)}</a>'
            f'<figcaption><ol>{rows}</ol><p title="{name}">{_text(os.path.basename(result.image))}</p></figcaption>'
            "</figure>\n"
        )

    def _picture(self, image: str, name: str) -> str:
        source: str | None = self._url(image)
        if self._inline:
            source = thumbnail_url(self._stdin_bytes if image == STDIN and self._stdin_bytes else image)
        elif image == STDIN:
            source = None
        if source is None:
            return "<em>no picture</em>"
        return f'<img src="{html.escape(source)}" alt="{name}" loading="lazy" decoding="async">'

    def _url(self, image: str) -> str:
        """Relative to the page, as a folder that holds both may be moved."""
        if image.startswith(("http://", "https://")):
            return image
        return quote(os.fsencode(os.path.relpath(os.path.realpath(image), self._folder)))


def _label(prediction: Prediction) -> str:
    return prediction.label or f"class {prediction.index}"


def _text(text: str) -> str:
    r"""Text for HTML; a byte of a file's name that is not UTF-8 is shown as ``\xff``, control characters not at all."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return html.escape("".join(c if c >= " " and c != "\x7f" else "\N{REPLACEMENT CHARACTER}" for c in shown))
