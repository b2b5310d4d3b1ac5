"""The options of every command that translates: which engine, how exactly, and with how much of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starcast import flags
from starcast.options import CheckedOptions, option
from starcast.runtime.precisions import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class EngineChoice(CheckedOptions):
    """Which engine translates, how exactly, and what it may take of the machine."""

    backend: str = flags.backend(
        "auto", "auto: a GPU engine if one is ready, else the fastest CPU engine, measured once on this machine."
    )
    precision: str = flags.precision(
        "fp32", ("auto", *PRECISIONS), "auto: the fastest in the bundle; all passed their gates."
    )
    threads: int | None = flags.threads()
    memory: float | None = option(
        None, "Memory limit in GiB, not counting the model's weights; batches shrink to fit. Default: all the memory "
        "of the machine or container.", minimum=0.001,
    )  # fmt: skip

    @property
    def engine(self) -> dict[str, Any]:
        """The same as keywords of Translator."""
        return {name: getattr(self, name) for name in EngineChoice.__dataclass_fields__}
