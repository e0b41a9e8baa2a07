"""Is the server there, and does it classify? The flows behind ``status`` and ``wait``."""

from __future__ import annotations

from dataclasses import replace

from ._calls import (
    IsModelReady,
    IsServerLive,
    IsServerReady,
    Pause,
    ReadComposingModels,
    ReadMetadata,
    ReadServer,
)
from ._errors import (
    AlexNetClientError,
    DeadlineExceeded,
    ModelNotFound,
    ModelNotReady,
    ProtocolMismatch,
    Unauthorized,
)
from ._flows import TEST_IMAGE, ClientState, Flow, classify
from ._retry import Deadline, send
from ._statistics import work_since_load
from ._status import ModelStatus, ServerStatus

# Short against the seconds a model takes to load, long against the millisecond that a look costs.
WAIT_POLL_S = 0.25


def status(state: ClientState, deadline: Deadline) -> Flow[ServerStatus]:
    """The server and every model that an image passes through; what is down is part of the answer.

    Raises:
        ServerUnreachable: Nobody answers.
        DeadlineExceeded: The server did not finish answering.
    """
    settings = state.settings
    name, version = yield from send(ReadServer(), deadline, settings.retries)
    live = yield from send(IsServerLive(), deadline, settings.retries)
    ready = yield from send(IsServerReady(), deadline, settings.retries)
    models, fault = yield from _models(state, deadline)
    worked = []
    for model in models:  # before the test image, which is work too
        model_version = settings.model_version if model.name == settings.model else ""
        worked.append(replace(model, work=(yield from work_since_load(model.name, deadline, model_version))))
    if fault is None:
        fault = yield from _fault(state, deadline)
    return ServerStatus(
        url=settings.url,
        name=name,
        version=version,
        live=live,
        ready=ready,
        models=tuple(worked),
        fault=None if fault is None else fault.message,
    )


def wait(state: ClientState, timeout: Deadline) -> Flow[None]:
    """Return once the ensemble and every composing model are ready and a test image comes back classified.

    Readiness alone is not enough: a model whose process died may go on calling itself ready.

    Raises:
        DeadlineExceeded: They were not in time; the message names the last obstacle.
        ProtocolMismatch: The model is of another kind; waiting does not change that.
        Unauthorized: The server wants a credential; nor does it change that.
    """
    obstacle: AlexNetClientError | None = None
    while timeout.remaining_s > 0:
        try:
            yield from _ensure_ready(state, timeout)
            return
        except (ProtocolMismatch, Unauthorized):
            raise
        except AlexNetClientError as error:
            if not isinstance(error, DeadlineExceeded):
                obstacle = error
        yield Pause(min(WAIT_POLL_S, timeout.remaining_s))
    late = timeout.exceeded(f"see model {state.settings.model!r} ready", obstacle)
    late.hint = late.hint.replace("deadline_s, --deadline", "timeout_s, --timeout")
    raise late from obstacle


def _ensure_ready(state: ClientState, timeout: Deadline) -> Flow[None]:
    models, fault = yield from _models(state, timeout)
    missing = [model.name for model in models if not model.ready]
    if missing:
        raise ModelNotReady(f"not ready: {', '.join(missing)}", url=state.settings.url)
    fault = fault or (yield from _fault(state, timeout))
    if fault is not None:
        raise fault


def _models(state: ClientState, deadline: Deadline) -> Flow[tuple[tuple[ModelStatus, ...], AlexNetClientError | None]]:
    """The ensemble and what it is composed of; and why the latter is not known, if it is not."""
    settings, fault = state.settings, None
    try:
        composing = yield from send(ReadComposingModels(settings.model, settings.model_version), deadline, 0)
    except (ModelNotFound, ModelNotReady, ProtocolMismatch) as error:
        composing, fault = (), error
    except Unauthorized:  # a server may hide its configurations and classify all the same
        composing = ()
    models = [(yield from _model(settings.model, settings.model_version, deadline))]
    for name in composing:
        models.append((yield from _model(name, "", deadline)))
    return tuple(models), fault


def _model(name: str, version: str, deadline: Deadline) -> Flow[ModelStatus]:
    ready = yield from send(IsModelReady(name, version), deadline, 0)
    try:
        versions = (yield from send(ReadMetadata(name, version), deadline, 0)).versions
    except (ModelNotFound, ModelNotReady):
        versions = ()
    return ModelStatus(name=name, versions=versions, ready=ready)


def _fault(state: ClientState, deadline: Deadline) -> Flow[AlexNetClientError | None]:
    """What a test image runs into; None if it comes back classified."""
    try:
        yield from classify(state, TEST_IMAGE, 1, deadline, retries=0)
    except DeadlineExceeded:
        raise
    except AlexNetClientError as error:
        return error
    return None
