"""Where the value of an option comes from: the command line, the environment, a settings file, or its default.

The first of them that has one decides. Every option of every command can be set in each way: ``--top`` of ``classify``
is ``ALEXNET_CLASSIFY_TOP`` and ``classify.top``; an option that all commands have is ``ALEXNET_URL`` and ``url``.
typer follows that order by itself; ``ConfiguredCommand`` hands it the file. Called by: ``cli.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand

from alexnet_client._errors import InvalidSetting

from .options import CONNECTION_OPTIONS

PREFIX = "ALEXNET"
SECRET = "********"  # stands where a secret is not shown
ABOUT_THE_FILE = ("config", "profile")
WRITTEN = __name__  # where a context keeps what the file says


class ConfiguredCommand(TyperCommand):
    """A command whose options may be set in the environment and in a settings file."""

    def __init__(self, name: str | None, **keywords: Any) -> None:
        super().__init__(name, **keywords)
        self.context_settings = {**self.context_settings, "auto_envvar_prefix": f"{PREFIX}_{name}"}
        param: Any
        for param in self.params:
            if param.name != "url" and hasattr(param, "show_envvar"):
                param.show_envvar = False  # --help would be half as long again; its last line tells the rule
            if param.name == "header":
                param.value_from_envvar = functools.partial(_lines_from_envvar, param)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with the settings of the file as defaults."""
        if not ctx.resilient_parsing:  # in completion, no file is read
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            if not given.get("help"):
                from .ending import clean_ending

                with clean_ending():
                    ctx.default_map = defaults_from_file(ctx, given)
        return super().parse_args(ctx, args)


def defaults_from_file(ctx: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What the file says about the options of the command that is run; by their names in Python.

    Args:
        ctx: The command's context.
        given: The options on the command line.

    Raises:
        InvalidSetting: The file cannot be used.
    """
    from .settings_file import read_settings

    by_name = {param.name: param for param in ctx.command.params}
    named, profile = (
        param.process_value(ctx, param.consume_value(ctx, given)[0])
        for param in (by_name["config"], by_name["profile"])
    )
    settings = list(every_setting(ctx))
    written = ctx.meta[WRITTEN] = read_settings(named, profile, [name for name, _, _ in settings])
    defaults = {}
    for name, command, param in settings:
        if name not in written:
            continue
        value, place = written[name].value, written[name].place
        shown = SECRET if name == "header" else repr(value)
        if getattr(param, "multiple", False) and not isinstance(value, list):
            raise InvalidSetting(f"{place}: {name} is {shown}; expected a list, [{shown}]")
        try:
            param.process_value(ctx, value)
        except typer.BadParameter as error:
            raise InvalidSetting(f"{place}: {name} is {shown}; {error.message}") from error
        if command is None or command is ctx.command:
            defaults[param.name] = value
    return defaults


def _lines_from_envvar(param: Any, ctx: Any) -> list[str] | None:
    """The lines of a variable, where typer splits at spaces: a header such as ``authorization=Bearer ...`` has some."""
    text: str | None = param.resolve_envvar_value(ctx)
    return None if text is None else text.splitlines()


def every_setting(ctx: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, command and option of everything that can be set; the command is None for the options of all."""
    for param in ctx.command.params:
        if param.name in CONNECTION_OPTIONS and param.name not in ABOUT_THE_FILE:
            yield long_name(param), None, param
    for name, command in ctx.find_root().command.commands.items():
        for param in command.params:
            if param.param_type_name == "option" and param.name not in CONNECTION_OPTIONS:
                yield f"{name}.{long_name(param)}", command, param


def long_name(param: Any) -> str:
    """The option as it is typed, without the dashes."""
    return next(option for option in param.opts if option.startswith("--")).removeprefix("--")
