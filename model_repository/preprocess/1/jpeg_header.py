"""An encoded file in; out what its JPEG header says, or None where the GPU's decoder is not to be asked.

Called by gpu_preprocessing.py for every image, before anything is decoded; it needs Pillow only for what a camera
wrote into the file. Marker segments are those of ITU-T T.81, annex B.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin  # noqa: F401  (the plugin registers itself)

START, END = b"\xff\xd8", b"\xff\xd9"
#: Baseline and extended frames with Huffman codes; the GPU's JPEG engines do no progressive ones.
DECODED_FRAMES = frozenset({0xC0, 0xC1})
#: All frame headers: 0xC0 to 0xCF without tables (DHT, JPG, DAC).
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SCAN, APP1, APP14 = 0xDA, 0xE1, 0xEE
#: Markers that stand alone, without a length: TEM and the restart markers.
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
#: Component names by which libjpeg tells a file that holds RGB itself (jdapimin.c, default_decompress_parms).
RGB_COMPONENTS = b"RGB"
ADOBE_YCC = 1
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class JpegHeader:
    """What is known of a JPEG before it is decoded.

    Attributes:
        width: of the stored image, in pixels.
        height: of the stored image, in pixels.
        orientation: EXIF orientation, 1 to 8.
    """

    width: int
    height: int
    orientation: int

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height


def gpu_header(image_bytes: bytes) -> JpegHeader | None:
    """Read the header of a JPEG that the GPU's decoder gives the same colours for as libjpeg.

    Returns:
        None for everything else: other formats, CMYK, files that hold RGB itself, more than 8 bits, progressive,
        lossless or arithmetic coding, and files that do not end where a JPEG ends, which are truncated or have
        something after the image. Whether such a file is an image at all is the CPU's to say.
    """
    if not image_bytes.startswith(START) or not image_bytes.endswith(END):
        return None
    frame = adobe_transform = None
    has_app1 = has_scan = False
    position, size = 2, len(image_bytes)
    while position + 4 <= size:
        if image_bytes[position] != 0xFF:
            return None  # libjpeg looks for the next marker; so let it
        marker = image_bytes[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in ALONE:
            position += 2
            continue
        if marker == SCAN:
            has_scan = True
            break
        length = int.from_bytes(image_bytes[position + 2 : position + 4], "big")
        segment = image_bytes[position + 4 : position + 2 + length]
        if length < 2 or len(segment) != length - 2:
            return None
        if marker in FRAMES:
            if frame is not None or marker not in DECODED_FRAMES:
                return None
            frame = segment
        elif marker == APP1:
            has_app1 = True
        elif marker == APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe_transform = segment[11]
        position += 2 + length
    if not has_scan or frame is None or len(frame) < 6 or not is_grey_or_ycc(frame, adobe_transform):
        return None
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if not width or not height:
        return None
    return JpegHeader(width, height, orientation(image_bytes) if has_app1 else 1)


def is_grey_or_ycc(frame: bytes, adobe_transform: int | None) -> bool:
    """Whether a frame header describes 8-bit grey or YCbCr, as libjpeg would take it."""
    precision, components = frame[0], frame[5]
    if precision != 8 or len(frame) != 6 + 3 * components:
        return False
    if components == 1:
        return True
    names = frame[6::3]
    return components == 3 and adobe_transform in (None, ADOBE_YCC) and names != RGB_COMPONENTS


def orientation(image_bytes: bytes) -> int:
    """Return the orientation that Pillow reads, from EXIF or XMP, as the CPU path does; 1 where there is none."""
    try:
        with Image.open(io.BytesIO(image_bytes), formats=("JPEG",)) as image:
            found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # metadata nobody can read is no reason to refuse pixels that everybody can
        return 1
    return found if found in range(1, 9) else 1
