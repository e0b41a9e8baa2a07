"""How an image that a caller gives becomes the bytes that are sent. Called by: both classifiers, for every image."""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import InvalidImage
from ._images import ImageInput, image_bytes_from, is_url
from ._retry import Deadline
from ._shrink import SMALLEST_BYTES, require_pillow, shrunk_file_from, shrunk_image_bytes


@dataclass(frozen=True, slots=True)
class Preparing:
    """What a client was told to do with images before it sends them.

    Attributes:
        shrink: Send large images smaller.
        allow_urls: Download images from http and https addresses.

    Raises:
        InvalidSetting: ``shrink`` without Pillow.
    """

    shrink: bool = False
    allow_urls: bool = False

    def __post_init__(self) -> None:
        if self.shrink:
            require_pillow()

    def image_bytes_from(self, image: ImageInput, deadline: Deadline) -> bytes:
        """The encoded image file to send, never empty.

        Raises:
            InvalidImage: It cannot be read or downloaded, is empty, or is of another kind.
            DeadlineExceeded: A download took too long.
        """
        if isinstance(image, str) and is_url(image):
            if not self.allow_urls:
                raise InvalidImage(
                    f"{image}: this client reads no web addresses",
                    hint="Allow it with allow_urls=True, which has a warning to read, or pass the image's bytes",
                )
            from ._download import image_bytes_from_url  # urllib, which few callers need

            image = image_bytes_from_url(image, deadline)
        if not self.shrink:
            return image_bytes_from(image)
        return shrunk_image_bytes(image_bytes_from(image, smaller_file_from=shrunk_file_from))

    def blocks(self, image: ImageInput) -> bool:
        """Whether preparing ``image`` takes so long that an event loop must not wait for it."""
        return not isinstance(image, bytes) or (self.shrink and len(image) >= SMALLEST_BYTES)
