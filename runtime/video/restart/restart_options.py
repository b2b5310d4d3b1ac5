"""What becomes of an interrupted film: the option of `video` and `morph` that says so."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class RestartOptions(CheckedOptions):
    """Whether a film goes on where an earlier run of the same command was interrupted."""

    restart: bool = option(
        False, "Start over. By default, the same command goes on where an interrupted video stopped."
    )
