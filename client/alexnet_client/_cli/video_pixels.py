"""A decoded frame in, the pixels to classify out: upright, RGB, small. Called by: ``video_frames``.

The short side is shrunk to the 256 pixels that the server resizes to anyway, with the same filter: bilinear, widened
where it shrinks. docs/video.md says what that saves and what it changes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy

SHORT_SIDE = 256  # torchvision's preset of AlexNet resizes to it, before it crops
UNSPECIFIED_MATRIX = 2  # ITU-T H.273, table 4


def upright_pixels(frame: av.VideoFrame, pixel_width: Fraction = Fraction(1)) -> numpy.ndarray[Any, Any]:
    """(height, width, 3) RGB uint8, turned as the recording says, with square pixels; never enlarged.

    Args:
        frame: As it was decoded.
        pixel_width: Width of a stored pixel in heights of one.
    """
    import numpy as np

    width = max(1, round(frame.width * pixel_width))
    scale = min(1.0, SHORT_SIDE / min(width, frame.height))
    pixels = frame.reformat(
        width=max(1, round(width * scale)),
        height=max(1, round(frame.height * scale)),
        format="rgb24",
        src_colorspace=_matrix_of(frame),
        interpolation="BILINEAR",
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))  # both turn anticlockwise


def _matrix_of(frame: av.VideoFrame) -> str | None:
    """The matrix from YCbCr to RGB: the frame's own; where it names none, that of its size, as players do.

    FFmpeg itself takes BT.601 then, which is wrong by up to 15 of 255 for HD (ITU-R BT.709, section 3).
    """
    high_definition = frame.width >= 1280 or frame.height > 576
    return "ITU709" if frame.colorspace == UNSPECIFIED_MATRIX and high_definition else None
