"""Images by shared memory: the bytes lie in a region that the server has mapped, and a request says where.

In: a call with an image's bytes. Out: its reply. Called by: the flows, with ``shared_memory=True``.

A region is registered with the server once, used for one image after the other, and unregistered when the client is
closed. It is used again only after an answer: a request that was given up may still be read by the server. Such a
region is set aside until the server lets go of it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from ._admission import Traffic
from ._calls import Embed, Infer, RegisterSharedMemory, UnregisterSharedMemory
from ._errors import (
    AlexNetClientError,
    Cancelled,
    DeadlineExceeded,
    InvalidSetting,
    ModelNotFound,
    ServerFault,
    ServerUnreachable,
)
from ._regions import SHARED_MEMORY, Region, Regions
from ._retry import Deadline, Step, send

# After one of these, the request may still be under way.
UNANSWERED = (DeadlineExceeded, Cancelled, ServerUnreachable)


def require_shared_memory(url: str) -> None:
    """Refuse ``shared_memory=True`` where it could not work.

    Raises:
        InvalidSetting: There is no /dev/shm, or ``url`` may lead to several servers.
    """
    if not os.path.isdir(SHARED_MEMORY):
        raise InvalidSetting(f"shared_memory=True needs {SHARED_MEMORY}, which only Linux has")
    if "," in url or url.startswith("dns:"):
        raise InvalidSetting(
            f"shared_memory=True with {url!r}: images are shared with one server; expected one address, "
            "such as 'localhost:8001'"
        )


def send_shared(
    regions: Regions, call: Infer | Embed, deadline: Deadline, retries: int, traffic: Traffic | None
) -> Generator[Step, Any, Any]:
    """Send ``call`` with its image in shared memory; the reply.

    Raises:
        InvalidSetting: The server cannot open this machine's shared memory, or this process can have none.
        AlexNetClientError: As ``send``.
    """
    assert isinstance(call.image_bytes, bytes)
    yield from _let_go_of_one(regions, deadline)
    for last_try in (False, True):
        region = regions.take(call.image_bytes)
        answered = False
        try:
            if not region.registered:
                yield from _register(region, deadline, retries)
            reply = yield from send(
                replace(call, image_bytes=region.write(call.image_bytes)), deadline, retries, traffic
            )
            answered = True
            return reply
        except ModelNotFound as error:
            answered = True
            if "shared memory region" not in error.message:
                raise
            regions.forget(region.generation)  # the server was started anew since the region was registered
            if last_try:
                raise _refused(error, deadline.url) from error
        except AlexNetClientError as error:
            answered = not isinstance(error, UNANSWERED)
            raise
        finally:
            if answered and region.registered:
                regions.give_back(region)
            elif region.registered:
                regions.set_aside(region)
            else:
                region.close()
    raise AssertionError("unreachable")


def release(regions: Regions, deadline: Deadline) -> Generator[Step, Any, None]:
    """Unregister every region; as far as the server lets them go and answers."""
    answers = True
    for region in regions.take_all():
        try:
            if answers:
                yield from send(UnregisterSharedMemory(region.name), deadline, 0)
        except ServerFault:
            pass  # still in use, by a request that was given up: the server keeps it until its own end
        except AlexNetClientError:
            answers = False
        finally:
            region.close()


def _register(region: Region, deadline: Deadline, retries: int) -> Generator[Step, Any, None]:
    try:
        yield from send(RegisterSharedMemory(region.name, region.byte_size), deadline, retries)
    except ServerFault as error:
        if error.status != "ALREADY_EXISTS":  # a first try whose answer was lost
            raise _refused(error, deadline.url) from error
    region.registered = True
    region.unlink()


def _let_go_of_one(regions: Regions, deadline: Deadline) -> Generator[Step, Any, None]:
    region = regions.next_set_aside()
    if region is None:
        return
    try:
        yield from send(UnregisterSharedMemory(region.name), deadline, 0)
    except AlexNetClientError:
        regions.set_aside(region)  # still in use
    else:
        region.close()


def _refused(error: AlexNetClientError, url: str) -> InvalidSetting:
    return InvalidSetting(
        f"shared_memory=True, but the server at {url} does not share this machine's memory: {error.message}",
        hint="It must run on this host and see the same /dev/shm (in a container: docker run --ipc=host); otherwise "
        "leave shared_memory out",
        status=error.status,
    )
