"""What every command that translates can be told about the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starcast.options import CheckedOptions, option


@dataclass(frozen=True, kw_only=True)
class EngineChoice(CheckedOptions):
    """Which engine translates, how exactly, and what it may take of the machine."""

    backend: str = option(
        "auto", "Engine; `starcast doctor` lists them. auto takes a graphics card's where one is ready, else the "
        "processor's fastest, measured once on this machine.", metavar="NAME",
    )  # fmt: skip
    precision: str = option(
        "fp32", "Precision: fp32, fp16, bf16, int8, fp8, or auto for the fastest of those in the bundle, each of which "
        "passed its gate.", metavar="NAME",
    )  # fmt: skip
    threads: int | None = option(None, "Threads of the engine; by default, and at most, as many as this process may "
                                 "use.", minimum=1)  # fmt: skip
    memory: float | None = option(None, "GiB that translating may take beside the model; by default all that the "
                                  "machine or the container has. Batches are cut to it.", minimum=0.001)  # fmt: skip

    @property
    def engine(self) -> dict[str, Any]:
        """The same as keywords of Translator."""
        return {name: getattr(self, name) for name in EngineChoice.__dataclass_fields__}
