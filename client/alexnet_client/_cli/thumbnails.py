"""Small pictures for the contact sheet. In: a path or the bytes of an image. Out: ``data:`` URLs.

Called by: ``contact_sheet``. Needs Pillow, which the client alone does without.
"""

from __future__ import annotations

import base64
import io
import warnings
from importlib.util import find_spec

LONG_SIDE = 320  # pixels: sharp in a tile of 160 CSS pixels on a screen with two pixels for each
JPEG_QUALITY = 72  # 8 to 15 KB a photograph, so that a thousand fit into a page that a browser likes
BACKDROP = (128, 128, 128, 255)  # shows through transparent pixels, in a light page and in a dark one


def can_make_thumbnails() -> bool:
    """Whether Pillow is installed."""
    return find_spec("PIL") is not None


def thumbnail_url(image: str | bytes) -> str | None:
    """``data:image/jpeg;base64,...`` of the upright picture; None if Pillow cannot decode it.

    Args:
        image: A path, or an encoded image file.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes and odd metadata: the server has judged the image
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
                picture.draft("RGB", (LONG_SIDE, LONG_SIDE))  # a JPEG is decoded at the next larger eighth
                upright = ImageOps.exif_transpose(picture)
                see_through = upright.has_transparency_data
                colours = upright.convert("RGBA" if see_through else "RGB")  # palettes cannot be scaled
                colours.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BILINEAR)
                if see_through:
                    backdrop = Image.new("RGBA", colours.size, BACKDROP)
                    colours = Image.alpha_composite(backdrop, colours).convert("RGB")
                jpeg = io.BytesIO()
                colours.save(jpeg, "JPEG", quality=JPEG_QUALITY, optimize=True)
    except Exception:  # whatever a decoder may raise: the page can do without one picture
        return None
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
