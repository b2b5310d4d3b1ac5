"""Click options made from options classes.

@click.command()
@options_from(FitOptions)
def fit(**values): ...from_flat(FitOptions, values)
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from starcast.comma_lists import join_commas, split_commas
from starcast.flags import OUT_ALIASES, OUT_FLAGS
from starcast.options import flag_of, flat_fields, inner_type
from starcast.path_types import LocalPath, OutputPath

Command = TypeVar("Command", bound=Callable[..., Any])


class StarcastOption(click.Option):
    """A click option with hidden aliases, and with its range in words. An alias needs a value, so a switch cannot
    have one. `repeats`: may be given several times; its value is the list of all."""

    def __init__(self, *declarations: Any, aliases: Sequence[str] = (), repeats: bool = False, **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.aliases = tuple(aliases)
        self.repeats = repeats

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        if isinstance(self.type, click.IntRange | click.FloatRange) and "range" in extra:
            extra["range"] = _range_in_words(self.type.min, self.type.max)
        return extra

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        # not click's `multiple`, which would split a string from --config into letters
        action, names = ("append", self.opts) if self.repeats else ("store", [])
        if not self.repeats:
            super().add_to_parser(parser, ctx)
        if names or self.aliases:
            parser.add_option(obj=self, opts=[*names, *self.aliases], dest=self.name, action=action, nargs=self.nargs)


class GroupedCommand(click.Command):
    """A command whose help shows its options below headings. `headings`: each with the parameters that it is above."""

    def __init__(self, *arguments: Any, headings: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.headings = headings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = {parameter.name: parameter.get_help_record(ctx) for parameter in self.get_params(ctx)}
        for heading, names in self.headings.items():
            records = [record for name in names if (record := lines.pop(name, None)) is not None]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        rest = [record for record in lines.values() if record is not None]
        with formatter.section("Help"):
            formatter.write_dl(rest)


def options_from(
    options_class: type, *, only: tuple[str, ...] | None = None, **defaults: Any
) -> Callable[[Command], Command]:
    """Click options for every field that has a help text; `defaults` replaces a field's default for one command.

    `only` limits them to the fields of these names.
    """

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


def out_option(
    name: str, what: str, *, required: bool = True, aliases: tuple[str, ...] = (), kind: LocalPath | None = None
) -> Callable[[Command], Command]:
    """`-o/--out` as a click option of a command; its path arrives as the parameter `name`."""
    return click.option(
        *OUT_FLAGS,
        name,
        cls=StarcastOption,
        aliases=(*OUT_ALIASES, *aliases),
        metavar="OUT",
        required=required,
        type=kind or LocalPath(is_output=True),
        help=f"Output: {what}",
    )


def _declarations(field: dataclasses.Field[Any], hint: Any) -> tuple[str, ...]:
    flags = field.metadata["flags"] or (flag_of(field),)
    if inner_type(hint) is bool:
        flags = tuple(
            f"{flag}/--no-{flag[2:]}" if flag.startswith("--") and "/" not in flag else flag for flag in flags
        )
    return (field.name, *flags)


def _settings(field: dataclasses.Field[Any], hint: Any, default: Any) -> dict[str, Any]:
    facts = field.metadata
    inner = inner_type(hint)
    settings: dict[str, Any] = {
        "default": default,
        "show_default": default is not None,
        "help": facts["help"],
        "metavar": facts["metavar"],
    }
    if typing.get_origin(inner) is tuple:
        settings["type"] = click.UNPROCESSED  # a list from --config stays a list
        element, is_optional = typing.get_args(inner)[0], inner is not hint
        settings["callback"] = lambda context, parameter, given: _split(
            given, element, is_optional, parts_are_lists=_is_from_command_line(context, parameter)
        )
        settings["repeats"] = True
        settings["default"] = join_commas(_as_text(part) for part in default) or None if default is not None else None
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
        settings["type"] = OutputPath() if facts["takes_stream"] else LocalPath(is_output=facts["flags"] == OUT_FLAGS)
    return settings


def _is_from_command_line(context: click.Context, parameter: click.Parameter) -> bool:
    source = context.get_parameter_source(parameter.name) if parameter.name else None
    return source is click.core.ParameterSource.COMMANDLINE


def _split(given: Any, element: type, is_optional: bool, *, parts_are_lists: bool) -> tuple[Any, ...] | None:
    """The values of a list; None where an optional one was not given. `given` is a list with commas, or several."""
    if given is None:
        return None if is_optional else ()
    parts = [given] if isinstance(given, str) else given
    if parts_are_lists or isinstance(given, str):
        parts = [word for part in parts for word in split_commas(part)]
    words = [str(part).strip() for part in parts if str(part).strip()]
    try:
        return tuple(element(word) for word in words)
    except ValueError:
        kind = "whole numbers" if element is int else "numbers"
        raise click.BadParameter(f"{','.join(words)} is not a list of {kind}: separate them by commas") from None


def _as_text(part: Any) -> str:
    return f"{part:g}" if isinstance(part, float) else str(part)


def _range_in_words(smallest: float | None, largest: float | None) -> str:
    """`at least 1`, `0 to 0.999`."""
    low, high = (f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (smallest, largest))
    if largest is None:
        return f"at least {low}"
    return f"at most {high}" if smallest is None else f"{low} to {high}"
