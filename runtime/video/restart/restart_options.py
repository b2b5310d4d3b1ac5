"""What becomes of an interrupted film: the option of `video` and `morph` that says so."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.options import CheckedOptions


@dataclass(frozen=True, kw_only=True)
class RestartOptions(CheckedOptions):
    """Whether a film goes on where an earlier run of the same command was interrupted."""

    restart: bool = flags.restart()
