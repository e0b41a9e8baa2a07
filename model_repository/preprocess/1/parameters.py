"""What the config's parameters say: the config as Triton hands it over in, numbers and words out.

Called by model.py when the model loads.
"""

from __future__ import annotations

import triton_python_backend_utils as pb_utils


def string_parameter(config: dict, name: str, default: str | None = None) -> str | None:
    """Read a parameter of the config; the default where it is missing."""
    return config.get("parameters", {}).get(name, {}).get("string_value", default)


def one_of(config: dict, name: str, choices: tuple[str, ...]) -> str:
    """Read a parameter that is one of some words; the first of them where it is missing.

    Raises:
        pb_utils.TritonModelException: it is none of them.
    """
    text = string_parameter(config, name, choices[0])
    if text not in choices:
        raise pb_utils.TritonModelException(
            f"preprocess/config.pbtxt: parameter {name} is {text!r}, expected one of {', '.join(choices)}"
        )
    return text


def int_parameter(config: dict, name: str, default: int | None = None) -> int:
    """Read a whole number from the config's parameters.

    Raises:
        pb_utils.TritonModelException: it is missing and has no default, or is not a whole number.
    """
    text = string_parameter(config, name)
    if text is None and default is not None:
        return default
    try:
        return int(text)
    except (TypeError, ValueError):
        raise pb_utils.TritonModelException(
            f"preprocess/config.pbtxt: parameter {name} is {text!r}, expected a whole number"
        ) from None
