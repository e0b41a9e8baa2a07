"""The page docs/commands.md: every command of every program, from the options that ``--help`` shows too.

In: the programs' typer applications. Out: Markdown. Called by: ``python docs/reference``.
"""

from __future__ import annotations

import enum
import importlib
import re
from collections.abc import Iterator
from typing import Any

import typer
from markdown import anchor, fenced, one_line, prose, table

PROGRAMS = ("alexnet-client", "alexnet-server", "alexnet-build")
SHARED = "Connection"  # the panel of options that every command of a program has
HEAD = """# Commands

Written by `make docs` from the code: the same texts as `--help`.

Every command writes results to stdout and everything else to stderr. Exit status: 0 done, 1 something failed, 2 wrong
usage.
"""


def commands_page() -> str:
    """The whole page."""
    programs = {name: _group(name) for name in PROGRAMS}
    rows = [
        (f"[`{program} {name}`](#{anchor(f'{program} {name}')})", _summary(command))
        for program, group in programs.items()
        for name, command in group.commands.items()
    ]
    parts = [HEAD.strip(), table(("command", ""), rows)]
    for program, group in programs.items():
        parts += _program(program, group)
    return "\n\n".join(parts) + "\n"


def _group(program: str) -> Any:
    app = importlib.import_module(f"{program.replace('-', '_')}.cli").app
    return typer.main.get_command(app)


def _program(program: str, group: Any) -> Iterator[str]:
    yield f"## {program}"
    yield prose(_plain(group.help or ""))
    shared: list[Any] = []
    for name, command in group.commands.items():
        options = [param for param in command.params if _is_shown_option(param)]
        yield f"### {program} {name}"
        yield prose(_plain(command.help or ""))
        yield fenced(f"{program} {name} [OPTIONS]{_arguments_in_usage(command)}", "text")
        if example := re.search(r"Example: (.+)", _plain(command.epilog or "")):
            yield "For example:"
            yield fenced(example[1], "bash")
        if arguments := [param for param in command.params if param.param_type_name == "argument"]:
            yield table(("argument", ""), [(f"`{_argument(p)}`", _help(p)) for p in arguments])
        if own := [param for param in options if param.rich_help_panel != SHARED]:
            yield table(("option", "", "default"), [_row(param) for param in own])
        if len(own) < len(options):
            shared = [param for param in options if param.rich_help_panel == SHARED]
            yield f"And the [options of the connection](#{anchor(f'{program} connection')})."
    if shared:
        yield f"### {program} connection"
        yield "Every command that speaks to a server has these options."
        yield table(("option", "", "default"), [_row(param) for param in shared])


def _is_shown_option(param: Any) -> bool:
    hidden = getattr(param, "hidden", False) or param.name == "help" or "completion" in (param.name or "")
    return param.param_type_name == "option" and not hidden


def _row(param: Any) -> tuple[str, str, str]:
    names = " / ".join(max(names, key=len) for names in (param.opts, param.secondary_opts) if names)
    value = "" if param.is_flag else f" {_metavar(param)}"
    return f"`{names}{value}`", _help(param), _default(param)


def _metavar(param: Any) -> str:
    """What stands for the value: its placeholder, its choices, or the name of its type."""
    if param.metavar:
        return str(param.metavar)
    kind = param.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(member.value) for member in kind)
    return "N" if kind in (int, float) else str(param.name).upper().replace("_", "-")


def _help(param: Any) -> str:
    text = one_line(_plain(param.help or ""))
    return f"{text} (`{param.envvar}`)" if isinstance(param.envvar, str) else text


def _default(param: Any) -> str:
    default = param.show_default if isinstance(param.show_default, str) else param.default
    if param.required:
        return "required"
    if default is None or default is False or default in ("", []) or callable(default) or param.show_default is False:
        return ""
    value = default.value if isinstance(default, enum.Enum) else default
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _arguments_in_usage(command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    return "".join(f" {_argument(argument)}" for argument in arguments)


def _argument(param: Any) -> str:
    name = _metavar(param)
    repeated = "..." if param.nargs == -1 and not name.rstrip("]").endswith("...") else ""
    return f"{name}{repeated}" if param.required or name.startswith("[") else f"[{name}{repeated}]"


def _summary(command: Any) -> str:
    return one_line(_plain((command.help or "").split("\n\n")[0]))


def _plain(text: str) -> str:
    """Without the markup of rich: ``[bold]``, ``[/]`` and escaped brackets."""
    return re.sub(r"\[/?(?:bold)?\]", "", text).replace("\\[", "[").replace("\b", "")
