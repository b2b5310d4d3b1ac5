"""Options are frozen dataclasses. Their click options are made from the fields, so that each fact stands once.

    @dataclass(frozen=True, kw_only=True)
    class FitOptions(CheckedOptions):
        size: int = option(256, "Side of an image, in pixels.", minimum=32)

    @click.command()
    @options_from(FitOptions)
    def fit(**values): ...from_flat(FitOptions, values)

Options nest: a field made by `group` holds another options class. The command line, `--config` files and JSON stay
flat, so a name must be unique across all groups.

Imports no room; click only where a command is built.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starcast.errors import OptionError

if TYPE_CHECKING:
    import click

_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}

Options = TypeVar("Options")
Command = TypeVar("Command", bound=Callable[..., Any])


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
) -> Any:
    """A dataclass field with its default, help text and range.

    `flags` replaces the spelling that follows from the field's name; `aliases` are former spellings, hidden from help.
    """
    facts = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "flags": flags,
        "aliases": aliases,
        "metavar": metavar,
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


def flag_of(field_name: str) -> str:
    """The command-line spelling of a field: `r1_every` -> `--r1-every`."""
    return "--" + field_name.replace("_", "-")


def from_flat(options_class: type[Options], values: Mapping[str, Any]) -> Options:
    """Nested options from flat values; missing ones keep their default. Raises TypeError for an unknown name."""
    unknown = sorted(set(values) - {field.name for field, _ in flat_fields(options_class)})
    if unknown:
        raise TypeError(f"{options_class.__name__} has no option {unknown[0]}")
    return _nested(options_class, values)


def to_flat(options: Any) -> dict[str, Any]:
    """The values of all groups by their names."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        flat.update(to_flat(value) if "group" in field.metadata else {field.name: value})
    return flat


def replace_options(options: Options, **changes: Any) -> Options:
    """A copy with some values replaced, whatever group they are in."""
    return from_flat(type(options), {**to_flat(options), **changes})


def flat_fields(options_class: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Every field that holds a value, groups' included, with its type."""
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if "group" in field.metadata:
            yield from flat_fields(field.metadata["group"])
        else:
            yield field, hints[field.name]


def _flag(field: dataclasses.Field[Any]) -> str:
    """How the command line spells a field; an error names it so."""
    return next((flag for flag in field.metadata["flags"] if flag.startswith("--")), flag_of(field.name))


def options_from(
    options_class: type, *, only: tuple[str, ...] | None = None, **defaults: Any
) -> Callable[[Command], Command]:
    """Click options for every field that has a help text; `defaults` replaces a field's default for one command.

    With `only`, no more than the fields of these names.
    """
    import click

    from starcast.click_option import StarcastOption

    def decorate(command: Command) -> Command:
        for field, hint in reversed(list(flat_fields(options_class))):
            if "help" not in field.metadata or (only is not None and field.name not in only):
                continue
            default = defaults.get(field.name, field.default)
            command = click.option(
                *_declarations(field, hint), cls=StarcastOption, aliases=field.metadata["aliases"],
                **_settings(field, hint, default),
            )(command)  # fmt: skip
        return command

    return decorate


def config_option(recipes: Path | None = None) -> Callable[[Command], Command]:
    """`--config FILE`: TOML or JSON whose keys are option names; what stands on the command line wins.

    `recipes` is a folder of TOML files that may be given by name.
    """
    import click

    names = sorted(file.stem for file in recipes.glob("*.toml")) if recipes is not None else []

    def read(context: click.Context, _: click.Parameter, given: str | None) -> None:
        if given is None:
            return
        path = recipes / f"{given}.toml" if recipes is not None and given in names else Path(given)
        if not path.is_file():
            known = f", or one of {', '.join(names)}" if names else ""
            raise click.BadParameter(f"{given} is no file: give a TOML or JSON file{known}")
        parameters = {
            _key(parameter): parameter for parameter in context.command.get_params(context) if parameter.expose_value
        }
        other_names = {name: key for key, parameter in parameters.items() for name in _other_names(parameter)}
        values = read_config(path, set(parameters), other_names)
        typed = {parameters[key].name: _as_typed(path, key, value, parameters[key]) for key, value in values.items()}
        context.default_map = {**(context.default_map or {}), **typed}

    also = f" Known by name: {', '.join(names)}." if names else ""
    return click.option(
        "--config", metavar="FILE", is_eager=True, expose_value=False, callback=read,
        help=f"Read options from a TOML or JSON file; the command line wins over it.{also}",
    )  # fmt: skip


def _key(parameter: click.Parameter) -> str:
    """An option's name in a config file: its flag's, so that the file reads like the command line."""
    long = next((flag[2:] for flag in parameter.opts if flag.startswith("--")), parameter.name or "")
    return long.replace("-", "_")


def _other_names(parameter: click.Parameter) -> list[str]:
    """What else a config file may call the option: the field, as `--dry-run` prints it, and its flag's aliases."""
    names = [parameter.name or "", *(flag[2:].replace("-", "_") for flag in getattr(parameter, "aliases", ()))]
    return [name for name in names if name != _key(parameter)]


def read_config(path: Path, known: set[str], other_names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The options in a TOML or JSON file. `other_names` maps names that are read as well to the known ones.

    An unknown key raises OptionError, with the known ones.
    """
    language, parse = ("TOML", tomllib.loads) if path.suffix.lower() == ".toml" else ("JSON", json.loads)
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not valid {language} ({error}): mend the file") from error
    if not isinstance(values, dict):
        raise OptionError(f"{path} holds no table of options: write one `name = value` for each")
    given, values = values, {}
    for name, value in given.items():
        key = name.replace("-", "_")
        key = (other_names or {}).get(key, key)
        if key in values:
            raise OptionError(f"{path} gives {key} twice, once as {name}: leave one of them out")
        values[key] = value
    unknown = sorted(set(values) - known)
    if unknown:
        raise OptionError(f"{path} has the unknown option {unknown[0]}: known are {', '.join(sorted(known))}")
    return values


def as_json(options: Any) -> dict[str, Any]:
    """The values of an options object as JSON takes them: flat, paths as text, tuples as lists."""
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
                f"{origin} has the option {name} = {value!r}, {error}: mend or replace the file"
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


def _as_typed(path: Path, name: str, value: Any, parameter: click.Parameter) -> Any:
    """A value of a file as the command line would have it, so that both are checked alike: 1.5 is no whole number."""
    import click

    if value is None and parameter.default is None:
        return None  # as --dry-run prints an option that was not given
    if isinstance(value, bool):
        return value if parameter.type is click.BOOL else str(value)
    if isinstance(value, str | int | float):
        return str(value)
    takes_list = parameter.multiple or parameter.type is click.UNPROCESSED
    if isinstance(value, list) and takes_list and all(isinstance(part, str | int | float) for part in value):
        return [str(part) for part in value]
    raise OptionError(f"{path} has {name} = {value!r}: write {'a list' if takes_list else 'one value'} for it")


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    facts = field.metadata
    if value is None or "help" not in facts:
        return
    flag = _flag(field)
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{flag} is {value}: give a number")
    if facts.get("minimum") is not None and not value >= facts["minimum"]:
        raise OptionError(f"{flag} is {value}: give at least {facts['minimum']}")
    if facts.get("maximum") is not None and not value <= facts["maximum"]:
        raise OptionError(f"{flag} is {value}: give at most {facts['maximum']}")
    if facts.get("choices") and value not in facts["choices"]:
        raise OptionError(f"{flag} is {value!r}: give one of {', '.join(facts['choices'])}")


def _inner_type(hint: Any) -> Any:
    """`int | None` -> int; other hints as they are."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _declarations(field: dataclasses.Field[Any], hint: Any) -> tuple[str, ...]:
    flags = field.metadata["flags"] or (flag_of(field.name),)
    if _inner_type(hint) is bool:
        flags = tuple(
            f"{flag}/--no-{flag[2:]}" if flag.startswith("--") and "/" not in flag else flag for flag in flags
        )
    return (field.name, *flags)


def _settings(field: dataclasses.Field[Any], hint: Any, default: Any) -> dict[str, Any]:
    import click

    facts = field.metadata
    inner = _inner_type(hint)
    settings: dict[str, Any] = {
        "default": default,
        "show_default": default is not None,
        "help": facts["help"],
        "metavar": facts["metavar"],
    }
    if typing.get_origin(inner) is tuple:
        settings["type"] = click.UNPROCESSED  # a list from --config stays one
        settings["callback"] = lambda _context, _parameter, text: _split(text)
        settings["default"] = ",".join(str(part) for part in default) or None if default is not None else None
        settings["show_default"] = bool(default)
        settings["metavar"] = facts["metavar"] or "A,B,…"
    elif facts["choices"]:
        settings["type"] = click.Choice(facts["choices"])
    elif inner is bool:
        pass
    elif inner in (int, float):
        plain, ranged = (click.INT, click.IntRange) if inner is int else (click.FLOAT, click.FloatRange)
        bounds = facts["minimum"], facts["maximum"]
        settings["type"] = plain if bounds == (None, None) else ranged(*bounds)
        settings["metavar"] = facts["metavar"] or ("INTEGER" if inner is int else "NUMBER")
    elif inner is Path:
        settings["type"] = click.Path(path_type=Path)
    return settings


def _split(text: Any) -> tuple[str, ...]:
    if text is None:
        return ()
    parts = text.split(",") if isinstance(text, str) else list(text)
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


def _restored(value: Any, hint: Any) -> Any:
    """What `_plain` wrote, as the field's type. Raises TypeError, with the words for it, for another type."""
    inner = _inner_type(hint)
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
