"""The command ``status``."""

from __future__ import annotations

import typer

from alexnet_client._cli.options import AsJson, Connection, Deadline, connected


@connected
def status(connection: Connection, as_json: AsJson = False, deadline: Deadline = 5.0) -> None:
    """Show every server: version, models, whether it classifies. Exit status 1 if one does not."""
    import json
    from typing import Any

    from rich.console import Console

    from alexnet_client._addresses import split_urls
    from alexnet_client._cli.ending import FAILED, complain
    from alexnet_client._cli.report import print_status, row_from_status
    from alexnet_client._errors import AlexNetClientError

    rows: list[dict[str, Any]] = []
    for url in split_urls(connection.url):
        with connection.at(url).classifier(deadline_s=deadline, retries=0) as classifier:
            try:
                answer = classifier.status()
            except AlexNetClientError as error:
                rows.append(row_from_status(error, url))
                complain(error)
                continue
        rows.append(row_from_status(answer, url))
        if not as_json:
            print_status(Console(highlight=False), answer)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    if not all(row["serving"] for row in rows):
        raise typer.Exit(FAILED)
