"""A large image in, a smaller file of the same picture out, from which the server predicts the same.

Called by: ``_preparing.py``, with ``shrink=True``; it alone imports Pillow, and only when it has an image to look at.

The server resizes to a short side of about 256 pixels, and decodes a JPEG at 1/2, 1/4 or 1/8 of its size as long as
twice that is left. A JPEG comes out of the same decoder here, at the same size, so that the server starts from what it
would have started from; in other formats, whole blocks of pixels are averaged. Nothing is resampled to a size in
between: to exactly 512 pixels, with any filter, more of the probability moved than by this.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ._errors import InvalidSetting

if TYPE_CHECKING:
    import PIL.Image

SHORT_SIDE = 512
"""What is sent has at least this, in pixels, and less than twice that: the networks' resize comes down to 256."""
SMALLEST_SHORT_SIDE = 2 * SHORT_SIDE
"""An image with a shorter one is left as it is: it cannot be halved."""
SMALLEST_BYTES = 64 * 1024
"""So is a file with fewer bytes, whatever its size in pixels: there is nothing to gain."""
JPEG_QUALITY = 95
"""With chroma at full size; docs/client.md has what that does to predictions."""

# What the server decodes, in its order; another format is its to refuse.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Modes whose way to RGB is Image.convert's, here and on the server: alpha dropped, palettes looked up. Greys of more
# than 8 bits have a way of their own there, so they are sent as they are.
CONVERTED_MODES = ("1", "P", "PA", "LA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
EXIF_ORIENTATION = 0x0112
# EXIF 2.3, section 4.6.4: what turns the stored image upright, as names of Pillow's Image.Transpose.
TRANSPOSE_FROM_ORIENTATION = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def require_pillow() -> None:
    """Refuse ``shrink=True`` where it could not be done.

    Raises:
        InvalidSetting: Pillow is not installed.
    """
    if find_spec("PIL") is None:
        raise InvalidSetting(
            "shrink=True needs Pillow, which is not installed", hint="Install it with: pip install 'pillow>=11,<14'"
        )


def shrunk_image_bytes(image_bytes: bytes) -> bytes:
    """The same picture in fewer bytes; or ``image_bytes`` itself where there is little to gain or doubt about it.

    EXIF orientation is applied and no metadata is kept. What Pillow cannot read, and greys of more than 8 bits, stay
    as they are: what to make of them is for the server to say.
    """
    if len(image_bytes) < SMALLEST_BYTES:
        return image_bytes
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image_bytes), formats=FORMATS) as image:
            if min(image.size) < SMALLEST_SHORT_SIDE:
                return image_bytes
            scale = SHORT_SIDE / min(image.size)
            image.draft(None, (round(image.width * scale), round(image.height * scale)))
            shrunk = jpeg_from_large(image)
    except Exception:  # Pillow's decoders raise whatever the damage leads to; the server says what is wrong
        return image_bytes
    return image_bytes if shrunk is None or len(shrunk) >= len(image_bytes) else shrunk


def shrunk_file_from(image: Any) -> bytes | None:
    """A large PIL image or array as the file of a smaller one; None for one that is to be sent as it is.

    Args:
        image: A PIL image, which is not changed, or an array (H, W, 3) RGB, (H, W, 1) or (H, W) grey, uint8.
    """
    from PIL import Image

    if hasattr(image, "shape"):
        image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    try:
        return None if min(image.size) < SMALLEST_SHORT_SIDE else jpeg_from_large(image)
    except Exception:  # damaged; the attempt to send it as it is says so
        return None


def jpeg_from_large(image: PIL.Image.Image) -> bytes | None:
    """An opened image, upright, in a smaller file; None where its mode is the server's to convert.

    Raises:
        Exception: Whatever Pillow raises for a damaged file, which is decoded only here.
    """
    from PIL import Image

    image.load()
    # Read after loading: Pillow turns a TIFF upright while it loads it, and then no longer reports an orientation.
    orientation = _orientation(image)
    if image.mode not in ("RGB", "L"):
        if image.mode not in CONVERTED_MODES:
            return None
        image = _without_transparency(image).convert("RGB")
    small = image.reduce(max(1, min(image.size) // SHORT_SIDE))  # a JPEG mostly by 1: its decoder has done the work
    if orientation in TRANSPOSE_FROM_ORIENTATION:
        small = small.transpose(getattr(Image.Transpose, TRANSPOSE_FROM_ORIENTATION[orientation]))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=JPEG_QUALITY, subsampling=0, exif=b"", icc_profile=b"", xmp=b"", comment=b"")
    return target.getvalue()


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # metadata nobody can read is no reason to refuse pixels that everybody can
        return 1


def _without_transparency(image: PIL.Image.Image) -> PIL.Image.Image:
    """As the server does: a colour that is marked transparent stays that colour. Pillow would warn of it."""
    if "transparency" not in image.info:
        return image
    image = image.copy()
    del image.info["transparency"]
    return image
