"""`--config FILE`: options from TOML or JSON; the command line overrides them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.errors import OptionError

if TYPE_CHECKING:
    import click

    from starcast.click_options import Command


def config_option(recipes: Path | None = None) -> Callable[[Command], Command]:
    """`--config FILE`: TOML or JSON whose keys are option names; the command line overrides it.

    `recipes` is a folder of TOML files that can also be given by name.
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

    also = f" Built-in, by name: {', '.join(names)}." if names else ""
    return click.option(
        "--config", metavar="FILE", is_eager=True, expose_value=False, callback=read,
        help=f"Read options from a TOML or JSON file; the command line overrides it.{also}",
    )  # fmt: skip


def read_config(path: Path, known: set[str], other_names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The options in a TOML or JSON file. `other_names` maps other accepted names to the known ones.

    An unknown key raises OptionError, which lists the known ones.
    """
    language, parse = ("TOML", tomllib.loads) if path.suffix.lower() == ".toml" else ("JSON", json.loads)
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not valid {language} ({error}): fix the file") from error
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


def _key(parameter: click.Parameter) -> str:
    """An option's name in a config file: the flag's, so that the file reads like the command line."""
    long = next((flag[2:] for flag in parameter.opts if flag.startswith("--")), parameter.name or "")
    return long.replace("-", "_")


def _other_names(parameter: click.Parameter) -> list[str]:
    """Other names for the option in a config file: the field's, which `--dry-run` prints, and the flag's aliases."""
    names = [parameter.name or "", *(flag[2:].replace("-", "_") for flag in getattr(parameter, "aliases", ()))]
    return [name for name in names if name != _key(parameter)]


def _as_typed(path: Path, name: str, value: Any, parameter: click.Parameter) -> Any:
    """A value from a file as the command line would pass it, so that both are checked alike: 1.5 is no whole number."""
    import click

    if value is None and parameter.default is None:
        return None  # how --dry-run prints an option that was not given
    if isinstance(value, bool):
        return value if parameter.type is click.BOOL else str(value)
    if isinstance(value, str | int | float):
        return str(value)
    takes_list = parameter.multiple or parameter.type is click.UNPROCESSED
    if isinstance(value, list) and takes_list and all(isinstance(part, str | int | float) for part in value):
        return [str(part) for part in value]
    raise OptionError(f"{path} has {name} = {value!r}: write {'a list' if takes_list else 'one value'} for it")
