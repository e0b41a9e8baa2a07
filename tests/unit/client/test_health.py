"""`status` and `wait`: the server, its models, and whether an image comes back."""

from __future__ import annotations

from typing import Any

import pytest
from alexnet_client import (
    Classifier,
    DeadlineExceeded,
    ModelNotFound,
    ModelNotReady,
    ModelStatus,
    ModelWork,
    ProtocolMismatch,
    ServerFault,
    ServerStatus,
    ServerUnreachable,
    Unauthorized,
)
from alexnet_client import _calls as calls

IDLE = (0, 0, 0.0, 0.0, 0.0, 0.0)
MODELS = tuple(
    ModelStatus(name, ("3",), True, ModelWork(name, *IDLE)) for name in ("classifier", "preprocess", "alexnet")
)


def raising(error: Exception) -> Any:
    def answer(call: Any) -> Any:
        raise error

    return answer


def test_status_of_a_server_that_serves(transport: Any) -> None:
    status = Classifier("host:8001", transport=transport).status()
    assert status == ServerStatus("host:8001", "triton", "2.69.0", True, True, MODELS, None)
    assert status.serving


def test_status_names_the_model_that_is_not_ready(transport: Any) -> None:
    transport.on[calls.IsModelReady] = lambda call: call.model != "alexnet"
    status = Classifier(transport=transport).status()
    assert [(model.name, model.ready) for model in status.models][2] == ("alexnet", False)
    assert not status.serving


def test_status_sees_a_dead_model_that_calls_itself_ready(transport: Any) -> None:
    transport.on[calls.Infer] = raising(ServerFault("Stub process 'alexnet_0' is not healthy."))
    status = Classifier(transport=transport).status()
    assert status.ready
    assert status.models == MODELS
    assert status.fault == "Stub process 'alexnet_0' is not healthy."
    assert not status.serving


def test_status_of_a_server_without_the_ensemble(transport: Any) -> None:
    missing = raising(ModelNotFound("unknown model"))
    transport.on |= {calls.ReadComposingModels: missing, calls.ReadMetadata: missing}
    transport.on[calls.IsModelReady] = lambda call: False
    status = Classifier(transport=transport).status()
    assert status.models == (ModelStatus("classifier", (), False, ModelWork("classifier", *IDLE)),)
    assert status.fault == "unknown model"


def test_status_of_a_server_that_hides_its_configurations_still_serves(transport: Any) -> None:
    transport.on[calls.ReadComposingModels] = raising(Unauthorized("restricted"))
    status = Classifier(transport=transport).status()
    assert status.models == MODELS[:1]
    assert status.serving


def test_status_says_what_each_model_has_done_all_its_versions_together(transport: Any) -> None:
    counters = {
        "1": calls.ModelStatistics("alexnet", "1", 30, 5, 10, total_s=4.0, queue_s=1.0, compute_s=3.0),
        "2": calls.ModelStatistics("alexnet", "2", 50, 15, 30, total_s=4.0, queue_s=3.0, compute_s=1.0),
    }
    transport.on[calls.ReadStatistics] = lambda call: tuple(counters.values())
    *_, alexnet = Classifier(transport=transport).status().models
    assert alexnet.work == ModelWork("alexnet", 40, 80, 4.0, queue_s=0.1, compute_s=0.1, total_s=0.2)


def test_status_of_a_server_that_hides_its_counters_still_serves(transport: Any) -> None:
    transport.on[calls.ReadStatistics] = raising(Unauthorized("restricted"))
    status = Classifier(transport=transport).status()
    assert [model.work for model in status.models] == [None] * 3
    assert status.serving


def test_status_of_nobody_is_an_error(transport: Any) -> None:
    transport.on[calls.ReadServer] = raising(ServerUnreachable("refused"))
    with pytest.raises(ServerUnreachable):
        Classifier(transport=transport, retries=1).status()


def test_wait_returns_at_once_when_everything_is_ready(transport: Any) -> None:
    Classifier(transport=transport).wait(10)
    assert transport.pauses_s == []
    asked = [call.model for call in transport.sent if isinstance(call, calls.IsModelReady)]
    assert asked == ["classifier", "preprocess", "alexnet"]
    assert isinstance(transport.sent[-1], calls.Infer)


def test_wait_outlasts_start_loading_and_a_failing_image(transport: Any) -> None:
    transport.fail(calls.ReadComposingModels, ServerUnreachable("refused"))
    transport.fail(calls.IsModelReady, ModelNotReady("loading"))
    transport.fail(calls.Infer, ServerFault("warming up"))
    Classifier(transport=transport).wait(10)
    assert len(transport.pauses_s) == 3


def test_wait_outlasts_a_model_that_is_not_there_yet(transport: Any) -> None:
    transport.fail(calls.ReadComposingModels, ModelNotFound("unknown"), ModelNotFound("unknown"))
    Classifier(transport=transport).wait(10)
    assert len(transport.pauses_s) == 2


def test_wait_in_vain_names_the_models_that_are_not_ready(transport: Any) -> None:
    transport.on[calls.IsModelReady] = lambda call: call.model == "classifier"
    started_s = transport.clock_s
    with pytest.raises(DeadlineExceeded, match="not ready: preprocess, alexnet") as caught:
        Classifier(transport=transport).wait(3)
    assert transport.clock_s - started_s == pytest.approx(3)
    assert "within 3 s" in caught.value.message
    assert "--timeout" in caught.value.hint


@pytest.mark.parametrize("error", [ProtocolMismatch("another kind"), Unauthorized("restricted")])
def test_wait_does_not_wait_for_what_time_cannot_change(transport: Any, error: Exception) -> None:
    transport.on[calls.ReadMetadata] = raising(error)
    with pytest.raises(type(error)):
        Classifier(transport=transport).wait(10)
    assert transport.pauses_s == []
