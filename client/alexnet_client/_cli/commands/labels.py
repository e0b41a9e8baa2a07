"""The command ``labels``."""

from __future__ import annotations

from alexnet_client._cli.options import AsJson, Connection, Deadline, connected
from alexnet_client._config import DEFAULT_DEADLINE_S


@connected
def labels(connection: Connection, as_json: AsJson = False, deadline: Deadline = DEFAULT_DEADLINE_S) -> None:
    """List every label that the server can give, one a line, in the order of their index from 0."""
    import json

    with connection.classifier(deadline_s=deadline) as classifier:
        names = classifier.labels()
    print(json.dumps(names, ensure_ascii=False) if as_json else "\n".join(names))
