"""Items of a source that trickles, with room for results in between.

In: an iterable whose next item may take its time, such as a camera. Out: its items, and ``NOTHING_YET`` while the
next one is awaited, on which ``classify_many`` hands out what is ready. Called by: ``video``.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from alexnet_client._many import NOTHING_YET

Item = TypeVar("Item")
POLL_S = 0.1  # how long a finished result may wait while the source is silent
AHEAD = 4  # items read and not yet used
_END = object()


def as_they_come(items: Iterable[Item]) -> Iterator[Item]:
    """``items``, read by a thread, which an interrupt need not wait for."""
    read: queue.Queue[Any] = queue.Queue(AHEAD)
    given_up = threading.Event()
    threading.Thread(target=_read, args=(items, read, given_up), daemon=True).start()
    try:
        while True:
            try:
                item = read.get(timeout=POLL_S)
            except queue.Empty:
                yield cast("Item", NOTHING_YET)
                continue
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()


def _read(items: Iterable[Any], read: queue.Queue[Any], given_up: threading.Event) -> None:
    last: object = _END
    try:
        for item in items:
            if not _put(read, item, given_up):
                return
    except BaseException as error:  # it belongs to whoever iterates, not to this thread
        last = error
    _put(read, last, given_up)


def _put(read: queue.Queue[Any], item: object, given_up: threading.Event) -> bool:
    """Whether anybody still wanted it."""
    while not given_up.is_set():
        try:
            read.put(item, timeout=POLL_S)
        except queue.Full:
            continue
        return True
    return False
