"""Where the server spent its time: what its models did since they were loaded, or between two looks.

In: readings of Triton's model statistics. Out: a ``ModelWork`` for the ensemble and each model in it.
Called by: ``_health.py``, and the command ``bench``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._calls import ModelStatistics, ReadComposingModels, ReadStatistics
from ._errors import AlexNetClientError, DeadlineExceeded
from ._flows import ClientState, Flow
from ._retry import Deadline, send
from ._status import ModelWork


def statistics(state: ClientState, deadline: Deadline) -> Flow[tuple[ModelStatistics, ...]]:
    """The counters of the ensemble, and of each model in it, since they were loaded.

    Raises:
        ProtocolMismatch: The server counts nothing.
        Unauthorized: It does not tell.
    """
    settings = state.settings
    composing = yield from send(ReadComposingModels(settings.model, settings.model_version), deadline, 0)
    counters = yield from send(ReadStatistics(settings.model, settings.model_version), deadline, 0)
    for name in composing:
        counters += yield from send(ReadStatistics(name), deadline, 0)
    return tuple(counters)


def work_since_load(model: str, deadline: Deadline, version: str = "") -> Flow[ModelWork | None]:
    """What ``model`` has done, all its versions together; None if the server does not tell.

    Raises:
        DeadlineExceeded: The server did not answer in time.
    """
    try:
        counters = yield from send(ReadStatistics(model, version), deadline, 0)
    except DeadlineExceeded:
        raise
    except AlexNetClientError:  # a server may keep its counters to itself and classify all the same
        return None
    return work_from_counters(model, counters)


def work_from_counters(model: str, counters: Sequence[ModelStatistics]) -> ModelWork:
    """The work that ``counters`` add up to, one of them for each version of ``model``."""
    requests, executions = sum(c.requests for c in counters), sum(c.executions for c in counters)
    images, each = sum(c.images for c in counters), max(requests, 1)
    return ModelWork(
        model=model,
        requests=requests,
        images=images,
        batch=images / executions if executions else 0.0,
        queue_s=sum(c.queue_s for c in counters) / each,
        compute_s=sum(c.compute_s for c in counters) / each,
        total_s=sum(c.total_s for c in counters) / each,
    )


def work_between(before: Sequence[ModelStatistics], after: Sequence[ModelStatistics]) -> tuple[ModelWork, ...]:
    """What each model did from ``before`` to ``after``; a model that did nothing, or was reloaded, is left out."""
    earlier = {(counters.name, counters.version): counters for counters in before}
    work = []
    for now in after:
        then = earlier.get((now.name, now.version))
        requests = now.requests - (then.requests if then else 0)
        if then is None or requests <= 0:
            continue
        since = ModelStatistics(
            name=now.name,
            version=now.version,
            images=now.images - then.images,
            executions=now.executions - then.executions,
            requests=requests,
            total_s=now.total_s - then.total_s,
            queue_s=now.queue_s - then.queue_s,
            compute_s=now.compute_s - then.compute_s,
        )
        work.append(work_from_counters(now.name, [since]))
    return tuple(work)
