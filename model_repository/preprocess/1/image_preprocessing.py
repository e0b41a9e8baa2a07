"""An encoded image file in, the network's pixels out, exactly as torchvision's AlexNet preset crops them.

Called by model.py for every image of every request, and by the builder and the tests; it needs Pillow and
NumPy and knows nothing of Triton. cykooz-resizer, where it is installed, resizes in a third of Pillow's time.
What a file may be: JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF.

Colour follows `Image.convert("RGB")`, which is what networks are trained with: an alpha channel or a
transparent palette entry is dropped, not composited, and colour profiles are not applied. Where `convert`
would clip instead of scale (16-bit and floating point greys), values are scaled to 8 bits.
"""

from __future__ import annotations

import io

import numpy as np

# Imported by name so that they are registered without Pillow loading its fifty other plugins, some of which
# start external programs (EPS) or parse formats that nobody photographs in.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

try:
    import cykooz_resizer
except ImportError:  # no wheel for this machine, or nobody installed it
    cykooz_resizer = None

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SIGNATURES = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}

# Pillow's own limit before it refuses an image as a decompression bomb: half a gigabyte of RGB.
MAX_IMAGE_PIXELS = 178_956_970
# Pillow hands a resize box to C as float32, which counts whole pixels up to here.
MAX_SIDE_PIXELS = 1 << 24
# A JPEG may be decoded at 1/2, 1/4 or 1/8 (libjpeg's scaled DCT) as long as this many times the resized
# image remains.
DRAFT_FACTOR = 2

EXIF_ORIENTATION = 0x0112
# EXIF 2.3, section 4.6.4: what turns the stored image upright.
TRANSPOSE_FROM_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels of the stored image


class ImageError(ValueError):
    """These bytes cannot become pixels; the message says why, for whoever sent them."""


def preprocess_into(
    image_bytes: bytes,
    out: np.ndarray,
    *,
    resize_short_side: int = 256,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> None:
    """Decode, turn upright, resize the short side, crop the centre and write the pixels into `out`.

    Args:
        image_bytes: one encoded image file.
        out: (S, S, 3) uint8, written in RGB, 0 to 255; S at most `resize_short_side`.
        resize_short_side: the short side, in pixels, that the whole image is thought to be resized to.
        max_image_pixels: larger images are refused before they are decoded; at most `MAX_IMAGE_PIXELS`.

    Raises:
        ImageError: these bytes are not an image that can be read; `out` may be partly written.
    """
    write_pixels(open_image(image_bytes, max_image_pixels=max_image_pixels), out, resize_short_side=resize_short_side)


def write_pixels(stored: Image.Image, out: np.ndarray, *, resize_short_side: int = 256) -> None:
    """`preprocess_into` for an image that `open_image` has opened.

    The crop is resized straight out of the decoded image, without the preset's intermediate one.
    """
    crop_size = out.shape[0]
    width, height = stored.size
    image = load_pixels(stored, draft_short_side=DRAFT_FACTOR * resize_short_side)
    orientation = read_orientation(image)
    # The crop is worked out in the full image: a drafted one has rounded sides, and so another crop.
    shrunk = max(1, round(width / image.width))  # 1, 2, 4 or 8
    full_box = crop_box(width, height, orientation, resize_short_side, crop_size)
    box = tuple(min(edge / shrunk, side) for edge, side in zip(full_box, image.size * 2, strict=True))
    crop = resize_box(image, box, crop_size)
    if orientation in TRANSPOSE_FROM_ORIENTATION:
        crop = crop.transpose(TRANSPOSE_FROM_ORIENTATION[orientation])
    # A grey image is widened only now: resizing one channel costs a third of resizing three equal ones.
    out[...] = np.asarray(crop if crop.mode == "RGB" else crop.convert("RGB"))


def resize_box(image: Image.Image, box: Box, side: int) -> Image.Image:
    """Resize a part of an image to a square, bilinear and antialiased.

    Args:
        image: of mode RGB or L.
        box: the part, inside the image.
        side: of the square, in pixels.

    Returns:
        An image of the same mode: as Pillow's resize makes it, or, with cykooz-resizer, within two levels of
        that, since the two round differently between their passes.
    """
    if cykooz_resizer is None:
        return image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    left, upper, right, lower = box
    square = Image.new(image.mode, (side, side))
    options = cykooz_resizer.ResizeOptions(
        resize_alg=cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear),
        crop_box=cykooz_resizer.CropBox(left, upper, right - left, lower - upper),
    )
    # One for each call: it keeps its memory between calls, and belongs to one thread.
    cykooz_resizer.Resizer().resize_pil(image, square, options)
    return square


def pixels_from_image(image_bytes: bytes, crop_size: int, *, resize_short_side: int = 256) -> np.ndarray:
    """Return the pixels of one encoded image file: (crop_size, crop_size, 3) uint8 RGB.

    Raises:
        ImageError: these bytes are not an image that can be read.
    """
    pixels = np.empty((crop_size, crop_size, 3), np.uint8)
    preprocess_into(image_bytes, pixels, resize_short_side=resize_short_side)
    return pixels


def decode(
    image_bytes: bytes, *, draft_short_side: int | None = None, max_image_pixels: int = MAX_IMAGE_PIXELS
) -> Image.Image:
    """Decode an image file to mode RGB, or L where it is grey; stored orientation, EXIF kept.

    Args:
        image_bytes: one encoded image file.
        draft_short_side: a JPEG may come back at 1/2, 1/4 or 1/8 of its size as long as its short side keeps
            this many pixels; None decodes at full size.
        max_image_pixels: larger images are refused before they are decoded.

    Raises:
        ImageError: empty, unknown format, damaged, truncated, too large, or values of no known range.
    """
    return load_pixels(open_image(image_bytes, max_image_pixels=max_image_pixels), draft_short_side=draft_short_side)


def open_image(image_bytes: bytes, *, max_image_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """Recognise the format and read the header; no pixel is decoded yet.

    Raises:
        ImageError: empty, not one of `FORMATS`, a damaged header, no pixels or too many.
    """
    if not image_bytes:
        raise ImageError("the image is empty: 0 bytes")
    try:
        image = Image.open(io.BytesIO(image_bytes), formats=FORMATS)
    except UnidentifiedImageError as error:
        for signature, name in SIGNATURES.items():
            if image_bytes.startswith(signature):
                damage = f"no readable header in {len(image_bytes)} bytes"
                raise ImageError(f"the {name} image is damaged or truncated: {damage}") from error
        raise ImageError(
            f"not an image in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF): "
            f"{len(image_bytes)} bytes that begin with {bytes(image_bytes[:8])!r}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from error
    except MemoryError:
        raise  # this machine's fault, not the file's
    except Exception as error:  # a header can be damaged in more ways than Pillow's plugins translate
        raise ImageError(f"the image's header is damaged: {error}") from error
    width, height = image.size
    if not width or not height:
        raise ImageError(f"the {image.format} image has no pixels: it is {width}x{height}")
    if width * height > max_image_pixels or max(width, height) > MAX_SIDE_PIXELS:
        raise ImageError(f"too many pixels: {width}x{height}, at most {max_image_pixels} are decoded")
    return image


def decoding_bytes(image: Image.Image, *, resize_short_side: int) -> int:
    """Return about how much memory decoding an opened image takes, in bytes; the encoded file not counted.

    Pillow keeps a byte a pixel in grey and with a palette, else four, and again four where the mode has to
    be converted. Two formats need more: of a progressive JPEG, libjpeg keeps all coefficients, two bytes
    each, until the last scan is read, however far the image is scaled down (libjpeg.txt, "Progressive JPEG
    support"); of WebP, libwebp's animation decoder keeps two canvases, and Pillow a copy of one.
    """
    width, height = image.size
    pixel_bytes = 1 if image.mode in ("1", "L", "P") else 4
    if image.mode in ("I", "F"):
        pixel_bytes += 13  # NumPy's copies on the way to 8 bits
    elif image.mode not in ("RGB", "L"):
        pixel_bytes += 4
    if image.format == "WEBP":
        pixel_bytes = 16
    if image.format != "JPEG":
        return width * height * pixel_bytes
    coefficient_bytes = 2 * len(image.getbands()) * width * height if image.info.get("progressive") else 0
    shrink = next((by for by in (8, 4, 2) if min(width, height) // by >= DRAFT_FACTOR * resize_short_side), 1)
    return width * height * pixel_bytes // shrink**2 + coefficient_bytes


def load_pixels(image: Image.Image, *, draft_short_side: int | None) -> Image.Image:
    """Decode an opened image; arguments and errors as `decode`'s."""
    try:
        if draft_short_side:
            image.draft(None, draft_size(*image.size, draft_short_side))
        image.load()
    except MemoryError:
        raise  # this machine's fault, not the file's
    except Exception as error:  # Pillow's decoders raise whatever the damage leads to: IndexError, ...
        raise ImageError(f"the {image.format} image is damaged or truncated: {error}") from error
    image.info.pop("transparency", None)  # dropped by convert("RGB") in any case, but with a warning
    return image if image.mode in ("RGB", "L") else rgb_from_any_mode(image)


def rgb_from_any_mode(image: Image.Image) -> Image.Image:
    """Convert as `Image.convert("RGB")` does, but scale deep greys to 8 bits where `convert` clips them.

    16-bit greys keep their high byte, which is what Pillow does with 16-bit colour. Mode I, 32-bit
    integers, is taken for 16-bit values that a wider type carries; mode F for 0 to 1, or 0 to 255 if
    anything exceeds 1.

    Raises:
        ImageError: a 32-bit image whose values fit neither reading, or a mode that has no conversion.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        greys = np.asarray(image)
        lowest, highest = greys.min(), greys.max()
        limit = 65535 if image.mode == "I" else 255
        if not (lowest >= 0 and highest <= limit):  # written so that NaN is refused
            raise ImageError(f"unsupported 32-bit grey image: values from {lowest} to {highest}, expected 0 to {limit}")
        if image.mode == "I":
            return Image.fromarray((greys >> 8).astype(np.uint8))
        return Image.fromarray(np.rint(greys * (255 if highest <= 1 else 1)).astype(np.uint8))
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ImageError(f"unsupported {image.format} image: no conversion from mode {image.mode} to RGB") from error


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where there is none or its block is damaged.

    Read after decoding: Pillow turns a TIFF upright while it loads it, and then no longer reports an
    orientation.
    """
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # metadata nobody can read is no reason to refuse pixels that everybody can
        return 1
    return orientation if orientation in TRANSPOSE_FROM_ORIENTATION else 1


def draft_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return the smallest size that `Image.draft` may decode to: the short side given, the aspect kept."""
    scale = short_side / min(width, height)
    return max(1, int(width * scale)), max(1, int(height * scale))


def crop_box(width: int, height: int, orientation: int, resize_short_side: int, crop_size: int) -> Box:
    """Return which part of the stored image ends up in the crop, as a box for `Image.resize`.

    torchvision (`transforms.functional`) truncates the resized long side with int() and rounds the crop's
    offset with round(); both are followed, in the upright image, so that the crop lies on the same pixels
    as the preset's.
    """
    turned = orientation >= 5  # orientations 5 to 8 exchange width and height
    upright_width, upright_height = (height, width) if turned else (width, height)
    short_side = min(upright_width, upright_height)
    resized_width = int(resize_short_side * upright_width / short_side)
    resized_height = int(resize_short_side * upright_height / short_side)
    left = round((resized_width - crop_size) / 2)
    upper = round((resized_height - crop_size) / 2)
    right_margin = resized_width - crop_size - left
    lower_margin = resized_height - crop_size - upper

    # Where the upright crop's left and upper margins lie in the stored image.
    if turned:
        left, right_margin, upper, lower_margin = upper, lower_margin, left, right_margin
        resized_width, resized_height = resized_height, resized_width
    if orientation in (2, 3, 7, 8):
        left = right_margin
    if orientation in (3, 4, 6, 7):
        upper = lower_margin
    x_scale, y_scale = width / resized_width, height / resized_height
    return left * x_scale, upper * y_scale, (left + crop_size) * x_scale, (upper + crop_size) * y_scale
