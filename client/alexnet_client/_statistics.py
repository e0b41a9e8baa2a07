"""Where the server spent its time: what its models did between two looks at their counters.

In: two readings of Triton's model statistics. Out: a ``ModelWork`` for the ensemble and each model in it.
Called by: the command ``bench``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ._calls import ModelStatistics, ReadComposingModels, ReadStatistics
from ._flows import ClientState, Flow
from ._retry import Deadline, send


@dataclass(frozen=True, slots=True)
class ModelWork:
    """What one model did in a stretch of time, a request's share of it in seconds.

    Attributes:
        model: Name of the model.
        requests: Requests that succeeded.
        batch: Images in a batch, on average; 0 for an ensemble, which has no batches of its own.
        queue_s: Mean time that a request waited for its batch.
        compute_s: Mean time that its batch was computed, input and output included.
        total_s: Mean time from the request's arrival at the model to its answer.
    """

    model: str
    requests: int
    batch: float
    queue_s: float
    compute_s: float
    total_s: float


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


def work_between(before: Sequence[ModelStatistics], after: Sequence[ModelStatistics]) -> tuple[ModelWork, ...]:
    """What each model did from ``before`` to ``after``; a model that did nothing, or was reloaded, is left out."""
    earlier = {(counters.name, counters.version): counters for counters in before}
    work = []
    for now in after:
        then = earlier.get((now.name, now.version))
        requests = now.requests - (then.requests if then else 0)
        if then is None or requests <= 0:
            continue
        executions = now.executions - then.executions
        work.append(
            ModelWork(
                model=now.name,
                requests=requests,
                batch=(now.images - then.images) / executions if executions else 0.0,
                queue_s=(now.queue_s - then.queue_s) / requests,
                compute_s=(now.compute_s - then.compute_s) / requests,
                total_s=(now.total_s - then.total_s) / requests,
            )
        )
    return tuple(work)
