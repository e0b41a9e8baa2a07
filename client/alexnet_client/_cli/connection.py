"""Which server, and how to speak with it. In: what was typed or set. Out: a ``Connection``, which makes the clients.

Secrets come from files and from the environment, and are in no message. Called by: ``options.py``, and every command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_client._config import DEFAULT_DEADLINE_S, DEFAULT_MODEL, DEFAULT_RETRIES, DEFAULT_URL
from alexnet_client._errors import InvalidSetting

if TYPE_CHECKING:
    from alexnet_client import TLS, Classifier

TOKEN_VARIABLE = "ALEXNET_TOKEN"  # not an option: every user of a machine can read what others type


@dataclass(frozen=True)
class Connection:
    """Which server, and how to speak with it: the arguments of ``Classifier`` that are not about one call."""

    url: str = DEFAULT_URL
    model: str = DEFAULT_MODEL
    tls: TLS | bool = False
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: Any = None

    def at(self, url: str) -> Connection:
        """The same with another address."""
        return replace(self, url=url)

    def keywords(self) -> dict[str, Any]:
        """As keyword arguments of ``Classifier``, ``AsyncClassifier`` and ``Settings``."""
        return {
            "url": self.url,
            "model": self.model,
            "tls": self.tls,
            "token": self.token,
            "headers": self.headers or None,
            "compression": self.compression,
        }

    def classifier(self, *, deadline_s: float = DEFAULT_DEADLINE_S, retries: int = DEFAULT_RETRIES) -> Classifier:
        """A client of that server; gRPC is imported now."""
        from alexnet_client import Classifier

        return Classifier(**self.keywords(), deadline_s=deadline_s, retries=retries)


def tls_from_files(
    wanted: bool | None, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None
) -> TLS | bool:
    """TLS with these files; without any, as ``wanted``, and not at all where nobody said.

    Raises:
        InvalidSetting: TLS is not wanted and described, or a file cannot be used.
    """
    files = {"--ca": ca, "--cert": cert, "--key": key, "--server-name": server_name}
    given = [option for option, value in files.items() if value is not None]
    if not given:
        return bool(wanted)
    if wanted is False:
        raise InvalidSetting(
            f"--no-tls and {given[0]} contradict each other",
            hint="See where each comes from with: alexnet-client config; '--config /dev/null' leaves files out",
        )
    from alexnet_client import TLS

    return TLS(root_certificates=ca, client_key=key, client_certificate=cert, server_name=server_name)


def token_from_file(token_file: Path | None) -> str | Callable[[], str] | None:
    """The token of the environment, or a function that reads it from a file.

    Raises:
        InvalidSetting: There are both, or the file cannot be read.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if token and token_file is not None:
        raise InvalidSetting(
            f"both {TOKEN_VARIABLE} and the token file {token_file} are set",
            hint="Unset one; alexnet-client config shows where each comes from",
        )
    if token_file is None:
        return token or None

    def read() -> str:
        return _secret("token", token_file)

    read()  # refused now, not at every image
    return read


def header_from_text(text: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``, or of ``NAME=@FILE``.

    Raises:
        InvalidSetting: It is neither, or the file cannot be read.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        # not quoted: the text may be a secret without its name
        raise InvalidSetting("a header has no name; expected --header NAME=VALUE, or NAME=@FILE")
    return name, _secret(f"header {name}", Path(value[1:])) if value.startswith("@") else value


def _secret(what: str, path: Path) -> str:
    try:
        text = path.expanduser().read_text(encoding="utf-8").strip()
    except RuntimeError as error:  # ~ of a user without a home
        raise InvalidSetting(f"the {what} cannot be read from {path}: there is no home folder") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidSetting(f"the {what} cannot be read from {path}: {reason}") from error
    if not text:
        raise InvalidSetting(f"the {what} cannot be read from {path}: it is empty")
    return text
