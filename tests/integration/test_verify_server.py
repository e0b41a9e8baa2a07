"""The engine of a live server, compared with torch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alexnet_build.cli import main


def verify(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["alexnet-build", "verify", "--weights", "demo", "--url", url])
    main()


def test_live_server_agrees_with_torch(
    server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        verify(server.grpc_url, monkeypatch)
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)["server"]
    assert found["photographs"] == 115
    assert found["top1_agreement"] == found["top5_agreement"] == 1.0
    assert found["max_probability_difference"] < 1e-5


def test_server_that_is_not_there_is_named_with_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        verify("127.0.0.1:9", monkeypatch)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "the server at 127.0.0.1:9 did not answer" in said
    assert "alexnet-client status --url 127.0.0.1:9" in said
