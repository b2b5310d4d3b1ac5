"""Former spellings of a flag: they still work, and no help text shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class AliasedOption(click.Option):
    """A click option with hidden aliases. An alias takes a value: a switch has none."""

    def __init__(self, *declarations: Any, aliases: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.aliases = tuple(aliases)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        if self.aliases:
            parser.add_option(obj=self, opts=self.aliases, dest=self.name, action="store", nargs=self.nargs)
