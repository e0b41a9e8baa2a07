"""A settings file: TOML in, a value for each setting and the place where it stands out.

    url = "gpu1:8001"              # an option of every command, by its long name
    [classify]                     # options of one command
    top = 3
    [profile.production]           # with --profile production, goes before what stands above
    url = "triton.example.org:8001"
    tls = true
    token-file = "token"           # beside this file
    [profile.production.classify]
    top = 1

Called by: ``configuration.py``, for every command that is run.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_client._errors import InvalidSetting

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Written:
    """A setting that stands in a file.

    Attributes:
        value: As TOML has it.
        place: The file, and the table in it, for people.
    """

    value: Any
    place: str


def user_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's own file, by the XDG Base Directory Specification; it need not exist."""
    home = environ.get("XDG_CONFIG_HOME", "")
    folder = home if home.startswith("/") else os.path.expanduser("~/.config")  # keeps the ~ of a user without a home
    return Path(folder, "alexnet-client", "config.toml")


def read_settings(named: str | Path | None, profile: str | None, known: Collection[str]) -> dict[str, Written]:
    """What the file says, by the name of the setting: ``url``, ``classify.top``.

    Args:
        named: The file to read instead of the user's own.
        profile: Table of it that goes before the rest.
        known: Every setting that there is, those of every command in the order in which they are to be suggested.

    Raises:
        InvalidSetting: The file cannot be read, is no TOML, has no such profile, or a setting that there is not.
    """
    path = _file_to_read(named)
    if path is None:
        if profile is not None:
            raise InvalidSetting(f"there is no profile {profile!r}, for there is no file {user_file()}")
        return {}
    document = _document(path)
    profiles = _table(path, PROFILE, document.pop(PROFILE, {}))
    settings = dict(_settings(path, "", document, known))
    for name, content in profiles.items():  # all of them are checked, so that a slip shows before it is needed
        table = f"{PROFILE}.{name}"
        within = dict(_settings(path, table, _table(path, table, content), known))
        if name == profile:
            settings |= within
    if profile is not None and profile not in profiles:
        there = f"it has {', '.join(sorted(profiles))}" if profiles else "it has none"
        raise InvalidSetting(f"there is no profile {profile!r} in {path}; {there}", hint=_nearest(profile, profiles))
    return settings


def profiles_in(named: str | Path | None) -> list[str]:
    """The profiles of the file, sorted; none of a file that cannot be read, for completion complains of nothing."""
    path = _file_to_read(named)
    try:
        profiles = {} if path is None else _document(path).get(PROFILE)
    except InvalidSetting:
        return []
    return sorted(profiles) if isinstance(profiles, dict) else []


def _file_to_read(named: str | Path | None) -> Path | None:
    """The file that was named, or the user's own; None if there is none, or a home that others may not look into."""
    if named is not None:
        return Path(os.path.expanduser(named))
    own = user_file()
    return own if own.is_absolute() and os.path.isfile(own) else None


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting(f"the settings in {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path} is not TOML: {error}") from error


def _table(path: Path, name: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InvalidSetting(f"{path}: {name} is {content!r}; expected a table, [{name}]")
    return content


def _settings(path: Path, table: str, content: dict[str, Any], known: Collection[str]) -> Iterator[tuple[str, Written]]:
    """The settings of one table and of the tables of commands in it."""
    for key, value in content.items():
        inner = value if isinstance(value, dict) else None
        within = ".".join(filter(None, [table, key])) if inner is not None else table
        for name, plain in ((f"{key}.{k}", v) for k, v in inner.items()) if inner is not None else ((key, value),):
            if name not in known:
                raise InvalidSetting(
                    f"{path}: there is no setting {name!r}" + (f", in [{within}]" if within else ""),
                    hint=_nearest(name, known) or "See every setting with: alexnet-client config",
                )
            yield name, Written(_beside(path, name, plain), f"{path} [{within}]" if within else str(path))


def _beside(path: Path, name: str, value: Any) -> Any:
    """Names of files are meant from where the settings stand, not from where the command is run."""
    if name in ("ca", "cert", "key", "token-file") and isinstance(value, str):
        return str(path.absolute().parent / os.path.expanduser(value))
    if name == "header" and isinstance(value, list):
        headers = [str(text).partition("=") for text in value]
        return [
            f"{header}=@{path.absolute().parent / os.path.expanduser(text[1:])}"
            if text.startswith("@")
            else f"{header}{equals}{text}"
            for header, equals, text in headers
        ]
    return value


def _nearest(name: str, known: Collection[str]) -> str:
    """A question, or nothing; ``timeout`` is also near ``wait.timeout``."""
    endings = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    near = endings or difflib.get_close_matches(name.replace("_", "-"), known, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(map(repr, near[:3]))}?" if near else ""
