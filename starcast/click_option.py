"""Our click option: its former spellings still work and stay hidden, and its range is shown in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class StarcastOption(click.Option):
    """A click option with hidden aliases. An alias takes a value: a switch has none."""

    def __init__(self, *declarations: Any, aliases: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.aliases = tuple(aliases)

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        if isinstance(self.type, click.IntRange | click.FloatRange) and "range" in extra:
            extra["range"] = _range_in_words(self.type.min, self.type.max)
        return extra

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        if self.aliases:
            parser.add_option(obj=self, opts=self.aliases, dest=self.name, action="store", nargs=self.nargs)


def _range_in_words(smallest: float | None, largest: float | None) -> str:
    """`at least 1`, `0 to 0.999`."""
    low, high = (f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (smallest, largest))
    if largest is None:
        return f"at least {low}"
    return f"at most {high}" if smallest is None else f"{low} to {high}"
