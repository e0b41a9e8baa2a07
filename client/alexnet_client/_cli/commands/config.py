"""The command ``config``."""

from __future__ import annotations

import os
from typing import Any

import typer

from alexnet_client._cli.options import AsJson, connected


@connected
def config(ctx: typer.Context, as_json: AsJson = False) -> None:
    r"""Show every setting, its value, and where it comes from.

    An option goes before the environment, that before the settings file, that before the default.

    --url is ALEXNET_URL in the environment and url = "..." in the file; --top of classify is
    ALEXNET_CLASSIFY_TOP, and top = 3 in the table \[classify]. The file is that of --config, or
    ~/.config/alexnet-client/config.toml.
    """
    import dataclasses
    import json

    from rich.console import Console

    from alexnet_client._cli.ending import stderr_console
    from alexnet_client._cli.settings_file import user_file
    from alexnet_client._cli.settings_report import current_settings, print_settings, unknown_variables

    settings = list(current_settings(ctx))
    messages = stderr_console()
    for name, near in unknown_variables(ctx).items():
        messages.print(f"{name} is no setting; did you mean {near}?", style="yellow", markup=False)
    if as_json:
        rows: list[dict[str, Any]] = [dataclasses.asdict(setting) for setting in settings]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    print_settings(Console(highlight=False), settings)
    if ctx.params["config"] is None and not os.path.isfile(user_file()):
        messages.print(f"there is no settings file; yours would be {user_file()}", style="dim", markup=False)
