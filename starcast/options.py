"""Options are frozen dataclasses whose fields know their help text, range and flag, so that each fact is stated once.

    @dataclass(frozen=True, kw_only=True)
    class FitOptions(CheckedOptions):
        size: int = option(256, "Side of an image, in pixels.", minimum=32)

Options nest: a field made by `group` holds another options class. The command line, `--config` files and JSON stay
flat, so a name must be unique across all groups. `click_options` turns fields into flags; `config_file` reads
their values.

Imports no room and no click.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from starcast.errors import OptionError

_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}

Options = TypeVar("Options")


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    flags: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    metavar: str | None = None,
    takes_stream: bool = False,
) -> Any:
    """A dataclass field with its default, help text and range.

    `flags` replaces the flag derived from the field's name. `aliases` are former flags, hidden from help texts.
    `takes_stream`: the command takes `-` for this path.
    """
    facts = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "flags": flags,
        "aliases": aliases,
        "metavar": metavar,
        "takes_stream": takes_stream,
    }
    return dataclasses.field(default=default, metadata=facts)


def group(options_class: type) -> Any:
    """A dataclass field that holds another options class, by default with that class's defaults."""
    return dataclasses.field(default_factory=options_class, metadata={"group": options_class})


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """Base of every options class: values outside a field's range or choices raise OptionError."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))


def flag_of(field: dataclasses.Field[Any]) -> str:
    """The flag of a field on the command line: `r1_every` -> `--r1-every`, or the one given to `option`."""
    long = (flag for flag in field.metadata.get("flags", ()) if flag.startswith("--"))
    return next(long, "--" + field.name.replace("_", "-"))


def from_flat(options_class: type[Options], values: Mapping[str, Any]) -> Options:
    """Nested options from flat values; missing ones keep their default. Raises TypeError for an unknown name."""
    unknown = sorted(set(values) - {field.name for field, _ in flat_fields(options_class)})
    if unknown:
        raise TypeError(f"{options_class.__name__} has no option {unknown[0]}")
    return _nested(options_class, values)


def to_flat(options: Any) -> dict[str, Any]:
    """All values by name, those of groups included."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        flat.update(to_flat(value) if "group" in field.metadata else {field.name: value})
    return flat


def replace_options(options: Options, **changes: Any) -> Options:
    """A copy with some values replaced, in any group."""
    return from_flat(type(options), {**to_flat(options), **changes})


def flat_fields(options_class: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Every field that holds a value, with its type; fields of groups are included."""
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if "group" in field.metadata:
            yield from flat_fields(field.metadata["group"])
        else:
            yield field, hints[field.name]


def as_json(options: Any) -> dict[str, Any]:
    """The values of an options object, ready for JSON: flat, paths as text, tuples as lists."""
    return {name: _plain(value) for name, value in to_flat(options).items()}


def from_json(options_class: type[Options], values: Mapping[str, Any], origin: str) -> Options:
    """Options from what `as_json` wrote; `origin` names the file in an error. Missing fields keep their default."""
    hints = {field.name: hint for field, hint in flat_fields(options_class)}
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise OptionError(f"{origin} has the option {unknown[0]}, which this version does not know: update starcast")
    restored = {}
    for name, value in values.items():
        try:
            restored[name] = _restored(value, hints[name])
        except TypeError as error:
            raise OptionError(
                f"{origin} has the option {name} = {value!r}, {error}: fix or replace the file"
            ) from error
    return from_flat(options_class, restored)


def _nested(options_class: type[Options], values: Mapping[str, Any]) -> Options:
    own: dict[str, Any] = {}
    for field in dataclasses.fields(options_class):  # type: ignore[arg-type]
        if "group" in field.metadata:
            own[field.name] = _nested(field.metadata["group"], values)
        elif field.name in values:
            own[field.name] = values[field.name]
    return options_class(**own)


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    facts = field.metadata
    if value is None or "help" not in facts:
        return
    flag = flag_of(field)
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{flag} is {value}: give a number")
    if facts.get("minimum") is not None and not value >= facts["minimum"]:
        raise OptionError(f"{flag} is {value}: give at least {facts['minimum']}")
    if facts.get("maximum") is not None and not value <= facts["maximum"]:
        raise OptionError(f"{flag} is {value}: give at most {facts['maximum']}")
    if facts.get("choices") and value not in facts["choices"]:
        raise OptionError(f"{flag} is {value!r}: give one of {', '.join(facts['choices'])}")


def inner_type(hint: Any) -> Any:
    """`int | None` -> int; other hints as they are."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


def _restored(value: Any, hint: Any) -> Any:
    """A value that `_plain` wrote, as the field's type. Raises TypeError, with a clause for the user, if it is not."""
    inner = inner_type(hint)
    if value is None:
        if inner is hint:
            raise TypeError("which may not be empty")
        return None
    if typing.get_origin(inner) is tuple:
        element = typing.get_args(inner)[0]
        if not isinstance(value, list | tuple):
            raise TypeError("which is not a list")
        return tuple(_restored(part, element) for part in value)
    stored = {Path: str, float: int | float}.get(inner, inner)
    if not isinstance(value, stored) or (isinstance(value, bool) and inner is not bool):
        raise TypeError(f"which is not {_TYPE_WORDS.get(inner, inner.__name__)}")
    return inner(value)
