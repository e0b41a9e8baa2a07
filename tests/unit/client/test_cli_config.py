"""Where a setting comes from: option, environment, file, default; and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from alexnet_client import TLS, InvalidSetting
from alexnet_client._cli.options import Connection, connection_from_options
from alexnet_client._cli.settings_file import Written, profiles_in, read_settings, user_file
from alexnet_client.cli import app
from typer.testing import CliRunner

KNOWN = {"url", "ca", "token-file", "header", "server-name", "classify.top", "classify.format", "wait.timeout"}
FILE = """
url = "gpu1:8001"
header = ["a=1"]
[classify]
top = 3
[profile.production]
url = "gpu2:8001"
ca = "ca.pem"
[profile.production.classify]
format = "jsonl"
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str | None]:
    """Changes of the environment that keep the user's own settings out of it."""
    return dict.fromkeys(name for name in os.environ if name.startswith("ALEXNET_")) | {
        "XDG_CONFIG_HOME": str(tmp_path)
    }


@pytest.fixture
def own_file(home: dict[str, str | None]) -> Path:
    path = user_file({"XDG_CONFIG_HOME": home["XDG_CONFIG_HOME"] or ""})
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def run(home: dict[str, str | None], *arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], prog_name="alexnet-client", env={**home, **environment})


def settings(home: dict[str, str | None], *arguments: object, **environment: str) -> dict[str, tuple[Any, str]]:
    done = run(home, "config", "--json", *arguments, **environment)
    assert done.exit_code == 0, done.stderr
    return {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)}


def test_each_source_goes_before_the_next(home: dict[str, str | None], own_file: Path) -> None:
    arguments = ("--profile", "production", "--model", "ours")
    found = settings(home, *arguments, ALEXNET_MODEL="theirs", ALEXNET_SERVER_NAME="gpu", ALEXNET_CLASSIFY_FORMAT="csv")
    assert found["model"] == ("ours", "option --model")
    assert found["server-name"] == ("gpu", "environment ALEXNET_SERVER_NAME")
    assert found["url"] == ("gpu2:8001", f"{own_file} [profile.production]")
    assert found["ca"] == (str(own_file.parent / "ca.pem"), f"{own_file} [profile.production]")
    assert found["classify.top"] == (3, f"{own_file} [classify]")
    assert found["classify.format"] == ("csv", "environment ALEXNET_CLASSIFY_FORMAT")
    assert found["wait.timeout"] == (60.0, "default")


def test_named_file_stands_in_for_the_users_own(home: dict[str, str | None], own_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("tls = true\n")
    by_option = settings(home, "--config", other, ALEXNET_CONFIG="/nowhere")
    assert by_option["tls"] == (True, str(other))
    assert by_option["url"] == ("localhost:8001", "default")
    assert settings(home, ALEXNET_CONFIG=str(other)) == by_option
    assert settings(home, "--config", "/dev/null")["classify.top"] == (5, "default")


def test_secrets_are_not_shown(home: dict[str, str | None]) -> None:
    done = run(home, "config", "--header", "a=hush", "--header", "b=@/run/secret", ALEXNET_TOKEN="hush")
    assert "hush" not in done.stdout + done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert lines["token"] == ["********", "environment", "ALEXNET_TOKEN"]
    assert lines["header"] == ["a=********,", "b=@/run/secret", "option", "--header"]


@pytest.mark.parametrize("header", ["Bearer-hush", "Bearer hush==", "=hush"])
def test_header_without_a_name_is_not_shown(home: dict[str, str | None], header: str) -> None:
    assert settings(home, "--header", header)["header"] == (["********"], "option --header")


def test_headers_in_the_environment_stand_on_a_line_each(home: dict[str, str | None]) -> None:
    found = settings(home, ALEXNET_HEADER="authorization=Bearer hush\nb=@/run/secret\n")
    assert found["header"] == (["authorization=********", "b=@/run/secret"], "environment ALEXNET_HEADER")


def test_misspelt_variable_is_pointed_out(home: dict[str, str | None]) -> None:
    done = run(home, "config", ALEXNET_ULR="gpu:8001", ALEXNET_TRITONSERVER="/opt/tritonserver")
    assert "ALEXNET_ULR is no setting; did you mean ALEXNET_URL?\n" in done.stderr
    assert "ALEXNET_TRITONSERVER" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ulr = 'gpu:8001'", "there is no setting 'ulr'\nDid you mean 'url'?"),
        ("server_name = 'gpu'", "there is no setting 'server_name'\nDid you mean 'server-name'?"),
        ("top = 3", "there is no setting 'top'\nDid you mean 'classify.top' or 'classify-video.top' or 'watch.top'?"),
        ("[profile.a.classify]\ntopp = 3", "no setting 'classify.topp', in [profile.a.classify]\nDid you mean 'class"),
        ("[classify]\ntop = 0", "[classify]: classify.top is 0; "),
        ("header = 'authorization=Bearer hush'", "header is ********; expected a list, [********]"),
        ("[classify-video]\nmin-score = 'x'", "[classify-video]: classify-video.min-score is 'x'; "),
        ("profile = 'a'", "profile is 'a'; expected a table, [profile]"),
        ("url = ", "is not TOML: "),
    ],
)
def test_file_that_cannot_be_meant_is_refused_with_what_would_be(
    home: dict[str, str | None], own_file: Path, content: str, message: str
) -> None:
    own_file.write_text(content)
    done = run(home, "labels")
    assert (done.exit_code, done.stdout) == (2, "")
    assert str(own_file) in done.stderr
    assert message in done.stderr
    assert "hush" not in done.stderr
    assert run(home, "labels", "--help").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "/nowhere.toml"), "the settings in /nowhere.toml cannot be read: No such file or directory"),
        (("--profile", "x"), "there is no profile 'x', for there is no file "),
        (("--no-tls", "--server-name", "gpu"), "--no-tls and --server-name contradict each other"),
        (("--header", "hush"), "a header has no name; expected --header NAME=VALUE, or NAME=@FILE"),
        (("--header", "a=@/nowhere"), "the header a cannot be read from /nowhere: No such file or directory"),
        (("--token-file", "/nowhere"), "the token cannot be read from /nowhere: No such file or directory"),
        (
            ("--token-file", "~nobody-here/token"),
            "the token cannot be read from ~nobody-here/token: there is no home folder",
        ),
        (("--ca", "/nowhere"), "/nowhere cannot be read: No such file or directory"),
    ],
)
def test_options_that_cannot_be_followed_are_wrong_usage(
    home: dict[str, str | None], arguments: tuple[str, ...], message: str
) -> None:
    done = run(home, "labels", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_profile_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(FILE)
    with pytest.raises(
        InvalidSetting, match=r"no profile 'produktion' in .*; it has production\. Did you mean 'produc"
    ):
        read_settings(path, "produktion", KNOWN)


def test_files_are_meant_from_where_the_settings_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('token-file = "token"\nca = "/etc/ca.pem"\nheader = ["a=@secret", "b=@/etc/secret", "c=k=@v"]\n')
    assert read_settings(path, None, KNOWN) == {
        "token-file": Written(f"{tmp_path}/token", str(path)),
        "ca": Written("/etc/ca.pem", str(path)),
        "header": Written([f"a=@{tmp_path}/secret", "b=@/etc/secret", "c=k=@v"], str(path)),
    }


def test_user_file_follows_xdg_and_ignores_a_relative_folder() -> None:
    assert user_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/alexnet-client/config.toml")
    assert user_file({"XDG_CONFIG_HOME": "x"}) == Path.home() / ".config/alexnet-client/config.toml"


def test_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    strange = tmp_path / "~" / ".config" / "alexnet-client"
    strange.mkdir(parents=True)
    (strange / "config.toml").write_text(FILE)  # nothing that lies where the command is run decides
    assert read_settings(None, None, KNOWN) == {}
    assert profiles_in(None) == []


def test_home_that_cannot_be_looked_into_has_no_file(monkeypatch: pytest.MonkeyPatch, own_file: Path) -> None:
    def refuse(path: object, **keywords: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(own_file.parents[1]))
    assert read_settings(None, None, KNOWN) != {}
    monkeypatch.setattr(os, "stat", refuse)
    assert read_settings(None, None, KNOWN) == {}


@pytest.mark.parametrize("kind", [str, Path])
def test_named_file_is_text_or_a_path(kind: type, own_file: Path) -> None:  # as typer gives it, by its version
    assert read_settings(kind(own_file), None, KNOWN)["url"].value == "gpu1:8001"
    assert profiles_in(kind(own_file)) == ["production"]


def test_token_file_is_read_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALEXNET_TOKEN", raising=False)
    path = tmp_path / "token"
    path.write_text("first\n")
    token = connection_from_options(token_file=path).token
    assert callable(token)
    assert token() == "first"
    path.write_text("second\n")
    assert token() == "second"
    monkeypatch.setenv("ALEXNET_TOKEN", "third")
    with pytest.raises(InvalidSetting, match="both ALEXNET_TOKEN and the token file"):
        connection_from_options(token_file=path)


def test_options_become_the_arguments_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_TOKEN", "hush")
    (tmp_path / "secret").write_text("shh\n")
    connection = connection_from_options("gpu:8001", server_name="gpu", header=["a=1=2", f"b=@{tmp_path}/secret"])
    assert connection.keywords() == {
        "url": "gpu:8001",
        "model": "classifier",
        "tls": TLS(server_name="gpu"),
        "token": "hush",
        "headers": {"a": "1=2", "b": "shh"},
        "compression": None,
    }
    assert [connection_from_options(tls=wanted).tls for wanted in (None, False, True)] == [False, False, True]


def test_connection_keeps_its_secrets_to_itself() -> None:
    assert "hush" not in repr(Connection(token="hush", headers={"a": "hush"}))
    assert Connection("a:1,b:2", model="m").at("b:2") == Connection("b:2", model="m")
