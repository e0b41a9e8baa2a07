"""A JSON object in, its fields by type out; `manifest.py` reads files with it that anybody may have edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T", str, int, bool, list, dict)

_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class Fields:
    """The fields of a JSON object; what has another type than it should is as if missing, and a problem."""

    def __init__(self, values: Mapping[str, Any], where: str = "", problems: list[str] | None = None) -> None:
        """Args: the object; what to call it in problems; the list that they go to, a new one without it."""
        self._values = values
        self._where = where
        self.problems = [] if problems is None else problems

    def take(self, name: str, kind: type[T]) -> T | None:
        """Return a field; None if it is missing, null or of another type."""
        value = self._values.get(name)
        # To Python, true is an int.
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        if value is not None:
            self.problems.append(f"{self._where}{name} is {json.dumps(value)}, not {_NAMES[kind]}")
        return None
