"""The command ``wait``."""

from __future__ import annotations

from typing import Annotated

import typer

from alexnet_client._cli.options import MOMENT_S, Connection, connected


@connected
def wait(
    connection: Connection,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=MOMENT_S, help="Seconds to wait.")] = 60.0,
) -> None:
    """Wait until every server classifies: all models ready, and a test image answered."""
    import time

    from alexnet_client._addresses import split_urls
    from alexnet_client._cli.ending import stderr_console

    left_s = timeout
    for url in split_urls(connection.url):
        with connection.at(url).classifier(retries=0) as classifier:
            started_s = time.monotonic()
            classifier.wait(max(left_s, MOMENT_S))
            left_s -= time.monotonic() - started_s
        stderr_console().print(f"{url} is ready", markup=False)
