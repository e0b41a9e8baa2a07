"""What ``config`` prints: every setting, its value, and where it comes from. Secrets are masked."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from .configuration import PREFIX, SECRET, WRITTEN, every_setting
from .connection import TOKEN_VARIABLE
from .options import CONNECTION_OPTIONS

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is now.

    Attributes:
        name: ``url``, ``classify.top``.
        value: What JSON can hold; None if it is not set.
        source: Where it comes from, for people; ``"default"`` if nobody set it.
    """

    name: str
    value: Any
    source: str


def current_settings(ctx: Any) -> Iterator[Setting]:
    """Every setting, as a command that is run now would see it.

    Args:
        ctx: The context of the command ``config``.
    """
    written = ctx.meta[WRITTEN]
    for name, command, param in every_setting(ctx):
        if command is None:
            value, source, variable = ctx.params[param.name], ctx.get_parameter_source(param.name), param.envvar
        else:
            own = command.make_context(command.name, [], parent=ctx.parent, resilient_parsing=True)
            own.default_map = {param.name: written[name].value} if name in written else {}
            value, source = param.consume_value(own, {})
            value, variable = param.process_value(own, value), f"{own.auto_envvar_prefix}_{param.name.upper()}"
        words = {"COMMANDLINE": f"option {param.opts[0]}", "ENVIRONMENT": f"environment {variable}"}
        if name in written:
            words["DEFAULT_MAP"] = written[name].place
        yield Setting(name, _shown(name, value), words.get(source.name, DEFAULT))
        if name == "token-file":  # its brother, which is no option
            yield _token_setting(os.environ)


def unknown_variables(ctx: Any, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables of the environment that are nearly a setting's, and that setting's."""
    known = {f"{PREFIX}_{name.upper()}" for name in CONNECTION_OPTIONS} | {TOKEN_VARIABLE}
    for name, command, param in every_setting(ctx):
        if command is not None:
            known.add(f"{PREFIX}_{name.partition('.')[0]}_{param.name}".replace("-", "_").upper())
    strange = sorted(name for name in environ if name.startswith(f"{PREFIX}_") and name not in known)
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.8) for name in strange}
    return {name: found[0] for name, found in near.items() if found}


def print_settings(console: Console, settings: list[Setting]) -> None:
    """A line a setting in columns; what nobody set is dim."""
    rows = [(s.name, _from_home(_text(s.value)), _from_home(s.source)) for s in settings]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for row in [("setting", "value", "from"), *rows]:
        line = "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[2]])
        style = "bold" if row[2] == "from" else "dim" if row[2] == DEFAULT else ""
        console.print(Text(line.rstrip(), style), soft_wrap=True)


def _token_setting(environ: Mapping[str, str]) -> Setting:
    is_set = bool(environ.get(TOKEN_VARIABLE))
    return Setting("token", SECRET if is_set else None, f"environment {TOKEN_VARIABLE}" if is_set else DEFAULT)


def _shown(name: str, value: Any) -> Any:
    """A value as JSON has it. A header may hold a secret; the name of a file does not."""
    if name == "header":
        return [_shown_header(text) for text in value or ()]
    if isinstance(value, list | tuple):
        return [_shown("", element) for element in value]
    value = getattr(value, "value", value)  # of an enumeration
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _shown_header(header: str) -> str:
    """``NAME=@FILE``, or the name and not the value; of what has no name nothing, for it may be the value."""
    name, equals, value = header.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):
        return SECRET
    return f"{name}={value if value.startswith('@') else SECRET}"


def _from_home(text: str) -> str:
    """Paths as people write them."""
    home = os.path.expanduser("~")
    return f"~{text.removeprefix(home)}" if text.startswith(f"{home}/") else text


def _text(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
