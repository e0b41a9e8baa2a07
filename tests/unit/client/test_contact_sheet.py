from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from alexnet_client import InvalidImage, Prediction, Result
from alexnet_client._cli import contact_sheet
from alexnet_client._cli.contact_sheet import ContactSheet
from alexnet_client._cli.thumbnails import LONG_SIDE, thumbnail_url
from PIL import Image

EVIL = "<script>alert(1)</script>&\"'"


def classified(image: str, label: str = "cat", score: float = 0.5) -> Result:
    return Result(image, 0, (Prediction(label, 0, score), Prediction("", 9, 0.125)), None, 0.0)


def page_of(folder: Path, *results: Result, stdin_bytes: bytes | None = None) -> str:
    sheet = ContactSheet(str(folder / "sheet.html"), "Contact sheet", stdin_bytes)
    for result in results:
        sheet.add(result)
    sheet.end()
    return (folder / "sheet.html").read_text(encoding="utf-8")


def picture(path: Path, size: tuple[int, int] = (640, 480), mode: str = "RGB") -> str:
    path.parent.mkdir(exist_ok=True)
    Image.new(mode, size).save(path)
    return str(path)


class Tags(HTMLParser):
    """Every start tag with its attributes; texts by the tag they are in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] not in ("style", "script"):
            self.texts.append((self._open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"), validate=True)))


def test_images_are_grouped_by_label_the_largest_group_and_the_best_score_first(tmp_path: Path) -> None:
    results = [classified("a.jpg", "dog"), classified("b.jpg", "cat", 0.4), classified("c.jpg", "cat", 0.9)]
    tags = Tags(page_of(tmp_path, *results))
    assert [text for tag, text in tags.texts if tag == "h2"] == ["cat", "dog"]
    assert [attributes["data-score"] for attributes in tags.all("figure")] == ["0.900000", "0.400000", "0.500000"]
    assert ("p", "3 images · 2 labels") in tags.texts
    assert [a["href"] for a in tags.all("a") if a["href"].startswith("#")] == ["#label-0", "#label-1"]
    assert ("span", "class 9") in tags.texts
    assert ("b", "12.5%") in tags.texts


def test_pictures_are_small_and_in_the_page_and_lead_to_their_originals(tmp_path: Path) -> None:
    image = picture(tmp_path / "in put" / "50% #1.png")
    page = page_of(tmp_path, classified(image))
    tags = Tags(page)
    (shown,) = tags.all("img")
    assert decoded(str(shown["src"])).size == (LONG_SIDE, LONG_SIDE * 3 // 4)
    assert shown["loading"] == "lazy"
    assert [a["href"] for a in tags.all("a") if not a["href"].startswith("#")] == ["in%20put/50%25%20%231.png"]
    assert re.findall(r"""(?:src|url)\s*[=(]\s*["']?(?!data:)[a-z]+:""", page) == []  # needs nothing from elsewhere


def test_failed_images_are_listed_with_their_reasons_and_filtered_ones_left_out(tmp_path: Path) -> None:
    failed = Result("bad.jpg", 0, (), InvalidImage("bad.jpg: no such file"), 0.0)
    tags = Tags(page_of(tmp_path, failed, Result("dark.jpg", 1, (), None, 0.0)))
    assert tags.all("figure") == []
    assert ("b", "bad.jpg") in tags.texts
    assert ("li", "no such file") in tags.texts
    assert ("a", "1 failed") in tags.texts


def test_names_labels_and_errors_cannot_become_markup(tmp_path: Path) -> None:
    failed = Result(f"{EVIL}b", 0, (), InvalidImage(f"reason {EVIL}"), 0.0)
    tags = Tags(page_of(tmp_path, classified(f"{EVIL}a.jpg", EVIL), failed))
    assert len(tags.all("script")) == 1
    assert ("h2", EVIL) in tags.texts
    assert ("span", EVIL) in tags.texts
    assert ("li", f"reason {EVIL}") in tags.texts
    assert {a["title"] for a in tags.all("a") if "title" in a} == {f"{EVIL}a.jpg"}


def test_name_that_is_not_utf8_and_a_control_character_are_shown(tmp_path: Path) -> None:
    page = page_of(tmp_path, classified("\udcff\x1b.jpg"))
    assert "\\xff\N{REPLACEMENT CHARACTER}.jpg" in page
    assert '/%FF%1B.jpg" target' in page


def test_originals_are_shown_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "can_make_thumbnails", lambda: False)
    image = picture(tmp_path / "a b.png")
    tags = Tags(page_of(tmp_path, classified(image), classified("-")))
    assert [shown["src"] for shown in tags.all("img")] == ["a%20b.png"]
    assert ("em", "no picture") in tags.texts


def test_picture_that_cannot_be_decoded_leaves_its_card(tmp_path: Path) -> None:
    (tmp_path / "odd.jpg").write_bytes(b"odd")
    tags = Tags(page_of(tmp_path, classified(str(tmp_path / "odd.jpg"))))
    assert len(tags.all("figure")) == 1
    assert ("em", "no picture") in tags.texts


def test_image_from_stdin_has_a_picture_and_no_link(tmp_path: Path) -> None:
    image_bytes = Path(picture(tmp_path / "a.png")).read_bytes()
    tags = Tags(page_of(tmp_path, classified("-"), stdin_bytes=image_bytes))
    assert len(tags.all("img")) == 1
    assert all("href" not in a or a["href"].startswith("#") for a in tags.all("a"))


def test_page_that_is_not_finished_leaves_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    page.write_text("before")
    sheet = ContactSheet(str(page), "Contact sheet")
    sheet.add(classified("a.jpg"))
    sheet.discard()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("sheet.html", "before")]


def test_picture_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    Image.new("RGB", (600, 300)).save(tmp_path / "a.jpg", exif=exif)
    assert decoded(thumbnail_url(str(tmp_path / "a.jpg")) or "").size == (LONG_SIDE // 2, LONG_SIDE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_picture_of_any_mode_becomes_a_jpeg(tmp_path: Path, mode: str) -> None:
    path = picture(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), (8, 8), mode)
    assert decoded(thumbnail_url(path) or "").mode == "RGB"


def test_transparent_pixels_are_grey(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert decoded(thumbnail_url(str(tmp_path / "a.png")) or "").getpixel((4, 4)) == (128, 128, 128)
