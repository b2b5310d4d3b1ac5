"""`--family NAME`, and a command whose other flags depend on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from starcast.click_options import Command, StarcastOption, options_from
from starcast.config_file import config_option
from starcast.errors import OptionError
from starcast.options import flat_fields
from starcast.train.families import DEFAULT, FAMILIES, options_class

_CHOSEN = "starcast.train.family"  # in click's context: the family's name
_PARAMETERS = "starcast.train.parameters"  # there, too: the command's parameters, with that family's flags


class FamilyCommand(click.Command):
    """A command declared with the default family's flags. Given `--family NAME`, it accepts that family's instead."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        choose_family(ctx, args)
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        before = self.help
        self.help = options_class(ctx.meta.get(_CHOSEN, DEFAULT)).help or before
        super().format_help_text(ctx, formatter)
        self.help = before

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        chosen = ctx.meta.get(_CHOSEN, DEFAULT)
        if chosen == DEFAULT:
            return super().get_params(ctx)
        if _PARAMETERS not in ctx.meta:  # built once, because click looks parameters up by identity
            replaced = {"config", *(field.name for field, _ in flat_fields(options_class(DEFAULT)))}
            common = [parameter for parameter in super().get_params(ctx) if parameter.name not in replaced]
            ctx.meta[_PARAMETERS] = [*common, *_flags_of(chosen)]
        parameters: list[click.Parameter] = ctx.meta[_PARAMETERS]
        return parameters


def choose_family(context: click.Context, arguments: Sequence[str]) -> None:
    """Give a FamilyCommand's context the flags of the family that the arguments name."""
    context.meta[_CHOSEN] = _family_named(arguments)


def family_option() -> Callable[[Command], Command]:
    """Add `--family NAME`, as the parameter `family`."""

    def check(context: click.Context, _: click.Parameter, name: str) -> str:
        if name != context.meta[_CHOSEN]:  # named in --config, which is read after the flags are chosen
            raise OptionError(
                f"the family {name!r} decides which options exist: write --family {name} on the command line"
            )
        return name

    return click.option(
        "--family", callback=check, cls=StarcastOption, default=DEFAULT, show_default=True, metavar="NAME",
        help=f"Model family to train: {', '.join(FAMILIES)}. The options below depend on it.",
    )  # fmt: skip


def family_flags(name: str = DEFAULT) -> Callable[[Command], Command]:
    """Add `--config`, and a flag for every option of the family."""
    options = options_class(name)

    def decorate(command: Command) -> Command:
        return config_option(options.recipes)(options_from(options)(command))

    return decorate


def _flags_of(name: str) -> list[click.Parameter]:
    @click.command()
    @family_flags(name)
    def command() -> None: ...

    return command.params


def _family_named(arguments: Sequence[str]) -> str:
    """The family that `--family` names, read before the command line is parsed because other flags depend on it."""
    named = DEFAULT
    for position, argument in enumerate(arguments):
        if argument == "--family" and position + 1 < len(arguments):
            named = arguments[position + 1]
        elif argument.startswith("--family="):
            named = argument.removeprefix("--family=")
    return named
