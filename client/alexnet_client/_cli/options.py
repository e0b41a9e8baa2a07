"""The options that every command has: which server, and how to speak with it.

A command takes one argument ``connection``; ``@connected`` puts the options of ``connection_from_options`` in its
place, so that they are written once. Called by: every module of ``commands/``.
"""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alexnet_client._config import DEFAULT_MODEL, DEFAULT_URL

from .connection import TOKEN_VARIABLE, Connection, header_from_text, tls_from_files, token_from_file

MOMENT_S = 0.001  # the shortest time that can be given
PANEL = "Connection"

Deadline = Annotated[float, typer.Option("--deadline", metavar="S", min=MOMENT_S, help="Seconds to answer in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


class Compression(str, enum.Enum):
    """How requests can be compressed."""

    gzip = "gzip"
    deflate = "deflate"


def _profiles(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell's completion."""
    from .settings_file import profiles_in

    return [name for name in profiles_in(ctx.params.get("config")) if name.startswith(incomplete)]


def connection_from_options(
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar="ALEXNET_URL",
            metavar="HOST:PORT[,HOST:PORT...]",
            help="gRPC address of the server; several are used in turn.",
            rich_help_panel=PANEL,
        ),
    ] = DEFAULT_URL,
    model: Annotated[
        str,
        typer.Option("--model", envvar="ALEXNET_MODEL", help="Name of the ensemble.", rich_help_panel=PANEL),
    ] = DEFAULT_MODEL,
    tls: Annotated[
        bool | None,
        typer.Option(
            "--tls/--no-tls",
            envvar="ALEXNET_TLS",
            help="Encrypt; on by itself with any of the next four.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar="ALEXNET_CA",
            metavar="FILE",
            help="Certificates (PEM) of the authorities to trust, instead of the usual ones.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            "--cert",
            envvar="ALEXNET_CERT",
            metavar="FILE",
            help="Certificate (PEM) of your own, for a server that asks for one.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", envvar="ALEXNET_KEY", metavar="FILE", help="Its private key (PEM).", rich_help_panel=PANEL
        ),
    ] = None,
    server_name: Annotated[
        str | None,
        typer.Option(
            "--server-name",
            envvar="ALEXNET_SERVER_NAME",
            metavar="NAME",
            help="Name in the server's certificate, if it is not that of --url.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="ALEXNET_TOKEN_FILE",
            metavar="FILE",
            help=f"File with a bearer token, read anew for each request; or put the token into {TOKEN_VARIABLE}.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            envvar="ALEXNET_HEADER",
            metavar="NAME=VALUE",
            help="Sent with each request, may be repeated; NAME=@FILE hides a secret from the list of processes.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    compression: Annotated[
        Compression | None,
        typer.Option(
            "--compression",
            envvar="ALEXNET_COMPRESSION",
            help="Compress requests; images are compressed already.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="ALEXNET_CONFIG",
            metavar="FILE",
            help="Settings in TOML, instead of your own file: alexnet-client config shows them all.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            envvar="ALEXNET_PROFILE",
            metavar="NAME",
            help=r"Use the table \[profile.NAME] of that file.",
            autocompletion=_profiles,
            rich_help_panel=PANEL,
        ),
    ] = None,
) -> Connection:
    """The connection that the options describe; ``config`` and ``profile`` were followed before they were parsed.

    Raises:
        InvalidSetting: They contradict each other, or a file cannot be read.
    """
    return Connection(
        url=url,
        model=model,
        tls=tls_from_files(tls, ca, cert, key, server_name),
        token=token_from_file(token_file),
        headers=dict(header_from_text(text) for text in header or ()),
        compression=None if compression is None else compression.value,
    )


CONNECTION_OPTIONS = tuple(inspect.signature(connection_from_options).parameters)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the connection's options in the place of its argument ``connection``, and a clean ending.

    A command without that argument gets the options all the same, and what they say is not looked into.
    """
    shared = inspect.signature(connection_from_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters
    parameters = [parameter for name, parameter in own.items() if name != "connection"]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        from .ending import clean_ending  # imports rich, which --help in a pipe and completion do without

        with clean_ending():
            given = {name: values.pop(name) for name in shared}
            if "connection" in own:
                values["connection"] = connection_from_options(**given)
            command(**values)

    # what typer reads
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*parameters, *shared.values())]
    )
    run.__annotations__ = {p.name: p.annotation for p in (*parameters, *shared.values())}
    return run
