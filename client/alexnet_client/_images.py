"""Any kind of image in, the bytes of an encoded image file out.

Called by: ``_preparing.py``, before anything is sent. No image library is imported: files and bytes pass
through as they are, a NumPy array is written as PNG with zlib, a PIL image saves itself.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, Union

from ._errors import InvalidImage

if TYPE_CHECKING:
    import numpy
    import PIL.Image

ImageInput: TypeAlias = Union[
    str,
    "os.PathLike[str]",
    bytes,
    bytearray,
    memoryview,
    IO[bytes],
    "numpy.ndarray[Any, Any]",
    "PIL.Image.Image",
]
"""A path or web address, encoded bytes, a binary file, an RGB or grey array (H, W, 3) or (H, W) uint8, a PIL image."""


def is_url(image: object) -> bool:
    """Whether ``image`` is the address of something on the web, not a path."""
    return isinstance(image, str) and image[:8].lower().startswith(("http://", "https://"))


def image_name(image: ImageInput, index: int = 0) -> str:
    """A name for messages and results: the path, the file's name, or ``"image <index>"``."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    for attribute in ("filename", "name"):  # PIL images have the one, files the other
        name = getattr(image, attribute, None)
        if isinstance(name, str) and name:
            return name
    return f"image {index}"


def image_bytes_from(image: ImageInput, *, smaller_file_from: Callable[[Any], bytes | None] | None = None) -> bytes:
    """The encoded image file, never empty.

    Args:
        image: See ``ImageInput``. A file is read from where it stands to its end and stays open.
        smaller_file_from: Asked first for the file of an array or a PIL image, which would become a PNG; None
            where it has none to offer.

    Raises:
        InvalidImage: It cannot be read, is empty, or is of another kind.
    """
    if isinstance(image, str | os.PathLike):
        image_bytes = _bytes_from_path(os.fspath(image))
    elif isinstance(image, bytes | bytearray | memoryview):
        image_bytes = bytes(image)
    elif hasattr(image, "save") and hasattr(image, "mode"):
        image_bytes = (smaller_file_from and smaller_file_from(image)) or _png_from_pil(image)
    elif hasattr(image, "dtype") and hasattr(image, "shape"):
        refuse_other_arrays(image)
        image_bytes = (smaller_file_from and smaller_file_from(image)) or png_from_pixels(image)
    elif hasattr(image, "read"):
        image_bytes = _bytes_from_file(image)
    else:
        raise InvalidImage(
            f"an image of type {type(image).__name__} is not understood; "
            "expected a path, bytes, a binary file, a NumPy array (H, W, 3) uint8 or a PIL image"
        )
    if not image_bytes:
        raise InvalidImage(f"{image_name(image)}: the image is empty (0 bytes)")
    return image_bytes


def png_from_pixels(pixels: Any) -> bytes:
    """A PNG file, lossless, from an array (H, W, 3) RGB, (H, W, 1) or (H, W) grey, uint8.

    The format is that of https://www.w3.org/TR/png-3/: signature, IHDR, one IDAT, IEND; no row filter.

    Raises:
        InvalidImage: Another shape or dtype.
    """
    refuse_other_arrays(pixels)
    shape = tuple(pixels.shape)
    height, width, colour_type = shape[0], shape[1], 2 if shape[2:] == (3,) else 0
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # filter type 0 before every row
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def refuse_other_arrays(pixels: Any) -> None:
    """Refuse what is no image of 8 bits.

    Raises:
        InvalidImage: Another shape or dtype; converting it silently would guess at its range.
    """
    shape = tuple(pixels.shape)
    if str(pixels.dtype) != "uint8" or len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)) or 0 in shape:
        raise InvalidImage(
            f"an array of shape {shape} and dtype {pixels.dtype} is not an image; "
            "expected (height, width, 3) RGB or (height, width) grey, uint8"
        )


def _bytes_from_path(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InvalidImage(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InvalidImage(f"{path}: a directory, not an image file") from None
    except (OSError, ValueError) as error:
        raise InvalidImage(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _bytes_from_file(file: Any) -> bytes:
    try:
        image_bytes = file.read()
    except (OSError, ValueError) as error:
        raise InvalidImage(f"{image_name(file)}: cannot be read ({error})") from error
    if not isinstance(image_bytes, bytes):
        raise InvalidImage(f"{image_name(file)}: opened as text; open it with mode 'rb'")
    return image_bytes


def _png_from_pil(image: Any) -> bytes:
    # PNG holds these modes as they are; the others (CMYK, YCbCr, ...) become RGB, as they would on the server
    keeps = image.mode in ("1", "I", "I;16", "L", "LA", "P", "RGB", "RGBA")
    target = io.BytesIO()
    try:
        # its EXIF block goes along: the server turns the picture upright by it, as it does for a file
        (image if keeps else image.convert("RGB")).save(target, "PNG", compress_level=1, exif=image.getexif())
    except (
        OSError,
        ValueError,
        SyntaxError,
    ) as error:  # what Pillow raises for a damaged file, decoded only now
        raise InvalidImage(f"{image_name(image)}: the PIL image cannot be saved ({error})") from error
    return target.getvalue()
