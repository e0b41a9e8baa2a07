"""Pieces of shared memory, and who has them: each is used for one image after the other.

In: an image's bytes. Out: a ``Region`` with room for them. Called by: ``_shared_memory.py``, which speaks to the
server.

A region is a file of /dev/shm, which is what Triton opens (its "system shared memory" extension). Its name is taken
away as soon as the server has opened it, so that nothing stays behind in /dev/shm, however the client ends.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import struct
import threading

from ._calls import SharedImage
from ._errors import InvalidImage, InvalidSetting

SHARED_MEMORY = "/dev/shm"
SMALLEST_REGION_BYTES = 1 << 20
"""Sizes are powers of two from here on, so that one region does for many images."""
LARGEST_IMAGE_BYTES = 2**32 - 1
"""The length that stands before an element of a BYTES tensor has four bytes."""


class Region:
    """A piece of shared memory of this process's own."""

    def __init__(self, byte_size: int, generation: int) -> None:
        self.name = f"alexnet_client_{os.getpid()}_{secrets.token_hex(8)}"
        self.byte_size = byte_size
        self.generation = generation
        self.registered = False
        descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, byte_size)  # a full /dev/shm is an error now, not a SIGBUS later
            self._memory = mmap.mmap(descriptor, byte_size)
        except BaseException:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    @property
    def _path(self) -> str:
        return f"{SHARED_MEMORY}/{self.name}"

    def write(self, image_bytes: bytes) -> SharedImage:
        """Put an image in, as an element of a BYTES tensor; where it is."""
        struct.pack_into("<I", self._memory, 0, len(image_bytes))
        self._memory[4 : 4 + len(image_bytes)] = image_bytes
        return SharedImage(self.name, 4 + len(image_bytes))

    def unlink(self) -> None:
        """Take its name away; it lives on as long as somebody has it mapped."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def close(self) -> None:
        """Let it go."""
        self.unlink()
        self._memory.close()


class Regions:
    """The regions of one client in one process: as many as there are images under way at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._set_aside: list[Region] = []
        self._generation = 0

    def take(self, image_bytes: bytes) -> Region:
        """A region with room for an image; nobody else has it until it is given back or set aside.

        Raises:
            InvalidImage: No region is large enough.
            InvalidSetting: /dev/shm is full.
        """
        needed = 4 + len(image_bytes)
        if len(image_bytes) > LARGEST_IMAGE_BYTES:
            raise InvalidImage(f"the image has {len(image_bytes)} bytes; shared memory takes {LARGEST_IMAGE_BYTES}")
        with self._lock:
            fitting = [region for region in self._free if region.byte_size >= needed]
            if fitting:
                region = min(fitting, key=lambda region: region.byte_size)
                self._free.remove(region)
                return region
            if self._free:  # a larger one takes the place of one that is too small
                self._set_aside.append(self._free.pop())
            generation = self._generation
        byte_size = max(SMALLEST_REGION_BYTES, 1 << (needed - 1).bit_length())
        try:
            return Region(byte_size, generation)
        except OSError as error:
            raise InvalidSetting(
                f"shared_memory=True, but {byte_size} bytes of {SHARED_MEMORY} cannot be had ({error.strerror})",
                hint="Make it larger (docker run --shm-size), lower the concurrency, or leave shared_memory out",
            ) from error

    def give_back(self, region: Region) -> None:
        """The image in ``region`` was answered."""
        with self._lock:
            if region.generation == self._generation:
                self._free.append(region)
                return
        region.close()  # of a server that has been started anew since

    def set_aside(self, region: Region) -> None:
        """The image in ``region`` was given up, and may be read yet."""
        with self._lock:
            self._set_aside.append(region)

    def forget(self, generation: int) -> None:
        """The server does not know the regions of ``generation`` any more."""
        with self._lock:
            if generation != self._generation:
                return
            self._generation += 1
            lost, self._free = self._free, []
        for region in lost:
            region.close()

    def next_set_aside(self) -> Region | None:
        """One that the server may have let go of; the caller unregisters it."""
        with self._lock:
            return self._set_aside.pop(0) if self._set_aside else None

    def take_all(self) -> list[Region]:
        """Every region that nobody uses, for the end."""
        with self._lock:
            regions, self._free, self._set_aside = [*self._free, *self._set_aside], [], []
        return regions
