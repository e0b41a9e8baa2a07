"""The page docs/api.md: what other programs may import, from its docstrings and signatures.

In: the packages' ``__all__``. Out: Markdown. Called by: ``python docs/reference``. griffe takes docstrings apart.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

import griffe
from markdown import anchor, fenced, first_sentence, one_line, prose, table

PACKAGES = ("alexnet_client", "alexnet_server")
LINE = 88  # a longer signature has a line for each parameter
HEAD = """# Python API

Written by `make docs` from the docstrings and signatures in the code. How to use it: [client.md](client.md) and
[server.md](server.md). Nothing else is meant to be imported.
"""


def api_page() -> str:
    """The whole page."""
    logging.getLogger("griffe").setLevel(logging.ERROR)  # types are in the signatures, not in the docstrings
    packages = {name: _public(name) for name in PACKAGES}
    parts = [HEAD.strip()]
    for package, public in packages.items():
        parts += [f"## {package}", _index(public)]
        for name, thing in public.items():
            if not _is_error(thing):
                parts += _documented(name, thing)
        parts += _errors(package, {name: thing for name, thing in public.items() if _is_error(thing)})
    return _linked("\n\n".join(parts) + "\n", _anchors(packages))


def _anchors(packages: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Where each name, and each method as ``Class.method``, is described."""
    anchors = {}
    for package, public in packages.items():
        for name, thing in public.items():
            anchors[name] = anchor(f"errors of {package}" if _is_error(thing) else name)
            if isinstance(thing, type) and not _is_error(thing):
                anchors |= {f"{name}.{member}": anchor(f"{name}.{member}") for member, _ in _members(thing)}
    return anchors


def _linked(page: str, anchors: dict[str, str]) -> str:
    """Names in prose lead to their headings; not those in code, in headings, and in bold, which are at home."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        return f"[`{name}`](#{anchors[name]})" if name in anchors else match[0]

    pieces = re.split(r"(```.*?```)", page, flags=re.DOTALL)
    for position in range(0, len(pieces), 2):
        lines = pieces[position].split("\n")
        pieces[position] = "\n".join(
            line if line.startswith("#") else re.sub(r"(?<![\[*])`([\w.]+)`", link, line) for line in lines
        )
    return "".join(pieces)


def _public(package: str) -> dict[str, Any]:
    module = importlib.import_module(package)
    things = {name: getattr(module, name) for name in module.__all__}
    # errors last, and what is like something else after it
    return dict(sorted(things.items(), key=lambda item: (_is_error(item[1]), item[0].lower().removeprefix("async"))))


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


def _index(public: dict[str, Any]) -> str:
    rows = []
    for name, thing in public.items():
        heading = f"errors of {thing.__module__.split('.')[0]}" if _is_error(thing) else name
        rows.append((f"[`{name}`](#{anchor(heading)})", first_sentence(inspect.getdoc(thing) or "")))
    return table(("name", ""), rows)


def _documented(name: str, thing: Any) -> Iterator[str]:
    """A class with its methods, or a function."""
    yield f"### {name}"
    yield fenced(_signature(thing, f"class {name}" if isinstance(thing, type) else f"def {name}"), "python")
    yield from _sections(thing)
    if isinstance(thing, type):
        for member_name, member in _members(thing):
            yield f"#### {name}.{member_name}"
            if not isinstance(member, property):
                prefix = "async def" if inspect.iscoroutinefunction(member) else "def"
                yield fenced(_signature(member, f"{prefix} {member_name}"), "python")
            yield from _sections(member)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Its public methods and properties, in the order of the source, those of its bases of ours first."""
    seen: set[str] = set()
    for owner in reversed(kind.__mro__):
        if owner.__module__.split(".")[0] not in PACKAGES:
            continue
        for name, member in vars(owner).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                if name not in seen:
                    yield name, getattr(kind, name)
                seen.add(name)


def _signature(thing: Any, name: str) -> str:
    signature = inspect.signature(thing)
    shown = [p for p in signature.parameters.values() if p.name != "self" and not p.name.startswith("_")]
    parameters = [_parameter(parameter) for parameter in shown]
    keyword_only = sum(parameter.kind is parameter.KEYWORD_ONLY for parameter in shown)
    if keyword_only:
        parameters.insert(len(parameters) - keyword_only, "*")
    returned = "" if isinstance(thing, type) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parameters)}){returned}"
    if len(line) <= LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f"){returned}"])


def _parameter(parameter: inspect.Parameter) -> str:
    """``name: annotation = default``; a default that is a function has no text of its own."""
    text = f"{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    if isinstance(parameter.default, str):
        return f"{text} = {json.dumps(parameter.default)}"
    return f"{text} = {'...' if callable(parameter.default) else repr(parameter.default)}"


def _sections(thing: Any) -> Iterator[str]:
    for section in griffe.Docstring(inspect.getdoc(thing) or "").parse("google"):
        yield from _section(section)


def _section(section: griffe.DocstringSection) -> Iterator[str]:
    kind, value = section.kind.value, section.value
    if kind == "text":
        yield prose(value)
    elif kind == "admonition" and value.kind == "example":
        yield fenced(_without_prompts(value.description), "python")
    elif kind == "examples":
        yield fenced(_without_prompts("\n".join(text for _, text in value)), "python")
    elif kind in ("parameters", "attributes"):
        yield table((kind.removesuffix("s").replace("parameter", "argument"), ""), _rows(value))
    elif kind == "raises":
        yield table(("raises", "when"), [(f"`{item.annotation}`", one_line(item.description)) for item in value])
    elif kind in ("returns", "yields"):
        yield f"{kind.capitalize()}: " + one_line(" ".join(item.description for item in value))
    else:
        raise ValueError(f"a docstring has a section {kind!r}, which {__file__} does not know")


def _rows(items: Iterable[Any]) -> list[tuple[str, str]]:
    return [(f"`{item.name}`", one_line(item.description)) for item in items]


def _without_prompts(code: str) -> str:
    return "\n".join(line[4:] if line.startswith((">>> ", "... ")) else line for line in code.splitlines())


def _errors(package: str, errors: dict[str, Any]) -> Iterator[str]:
    """The root with all that it has, and the others in a tree and a table: they differ in what they mean."""
    yield f"### Errors of {package}"
    roots = [error for error in errors.values() if not any(base in errors.values() for base in error.__bases__)]
    yield fenced("\n".join(line for root in roots for line in _tree(root, errors, "", "")), "text")
    for root in roots:
        yield f"#### {root.__name__}"
        yield from _sections(root)
    others = [error for error in errors.values() if error not in roots]
    hints = any(getattr(error, "default_hint", "") for error in others)
    rows = [
        (
            f"**`{error.__name__}`**",
            one_line(inspect.getdoc(error) or ""),
            one_line(getattr(error, "default_hint", "").replace("{url}", "")),
        )
        for error in others
    ]
    if hints:
        yield table(("error", "means", "what to do, unless it says something better"), rows)
    elif rows:
        yield table(("error", "means"), [row[:2] for row in rows])


def _tree(error: Any, errors: dict[str, Any], first: str, rest: str) -> Iterator[str]:
    foreign = [base.__name__ for base in error.__bases__ if base not in errors.values() and base is not Exception]
    yield first + error.__name__ + (f"   (also a {', '.join(foreign)})" if foreign else "")
    below = [other for other in errors.values() if error in other.__bases__]
    for position, other in enumerate(below, start=1):
        last = position == len(below)
        branch, further = ("└── ", "    ") if last else ("├── ", "│   ")
        yield from _tree(other, errors, rest + branch, rest + further)
