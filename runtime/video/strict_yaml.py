"""Read YAML that a user wrote into text, lists and mappings, each text with its line; nothing else is constructed.

Values stay text, as on a command line: `off`, `1:30` and `007` mean what they say. Anchors, aliases and tags are
refused: they make small files large, or run code. So are keys that are given twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from starcast.errors import OptionError, printable, reason_of

LARGEST = 2**20  # bytes: thousands of jobs or keys
DEEPEST = 10  # lists and mappings within each other
_NULLS = ("", "~", "null")
_USUAL = "tag:yaml.org,2002:"
_TAGS = frozenset(_USUAL + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "value"))


class Text(str):
    """A value or a key, with its line in the file."""

    __slots__ = ("line",)

    def __new__(cls, text: str, line: int) -> Text:
        made = super().__new__(cls, text)
        made.line = line
        return made

    line: int


class _RefusedError(ValueError):
    def __init__(self, node: Any, sentence: str) -> None:
        super().__init__(sentence)
        self.line = node.start_mark.line + 1


def read_strictly(path: Path) -> Any:
    """What a file holds: Text, lists, dicts with keys of Text, and None. Raises OptionError, which names the file."""
    name = printable(path)
    try:
        if not path.is_file():
            raise OptionError(f"{name} does not exist, or is no file: give the name of a YAML file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise OptionError(f"{name} cannot be read ({reason_of(error)}): check its permissions") from error
    if len(content) > LARGEST:
        raise OptionError(f"{name} has more than {LARGEST // 2**20} MiB: give a smaller file")
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        return None if node is None else _value_of(node, set(), 0)
    except _RefusedError as refused:
        raise OptionError(f"{name}, line {refused.line}: {refused}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise OptionError(f"{name} is no YAML{where} ({error.problem}): fix it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionError(f"{name} is no YAML: fix it") from error


def _value_of(node: Any, seen: set[int], depth: int) -> Any:
    if id(node) in seen or node.tag == f"{_USUAL}merge":
        raise _RefusedError(node, "aliases (*name) are not allowed: write the value out")
    if node.tag not in _TAGS:
        raise _RefusedError(node, f"the tag {printable(node.tag)} is not allowed: write the plain value")
    if depth > DEEPEST:
        raise _RefusedError(node, f"values are nested more than {DEEPEST} deep: write them one below the other")
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        is_null = node.style is None and node.value.lower() in _NULLS
        return None if is_null else Text(node.value, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value_of(part, seen, depth + 1) for part in node.value]
    return dict(_pairs_of(node, seen, depth))


def _pairs_of(node: Any, seen: set[int], depth: int) -> Iterator[tuple[Text, Any]]:
    names = set()
    for key, value in node.value:
        name = _value_of(key, seen, depth + 1)
        if not isinstance(name, Text):
            raise _RefusedError(key, "a key is not a name: write `name: value`")
        if name in names:
            raise _RefusedError(key, f"{printable(name)} is given twice: leave one out")
        names.add(name)
        yield name, _value_of(value, seen, depth + 1)
