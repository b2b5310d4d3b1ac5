"""The options that `starcast video` and `starcast morph` share: how frames are made and written."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import option
from starcast.runtime.engine_choice import EngineChoice

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
MAX_PIXELS = 2**26  # of a frame: 8192 x 8192, twice 8K


@dataclass(frozen=True, kw_only=True)
class FilmOptions(EngineChoice):
    """How frames are made and written."""

    batch: int | None = option(
        None, "Frames that the engine gets at a time; without it as many as make it fastest, 1 or 4.",
        minimum=1, maximum=1024,
    )  # fmt: skip
    crf: int = option(18, "Quality of the H.264 film: 0 lossless, 18 hardly visible, 51 worst.", minimum=0, maximum=51)
    preset: str = option("medium", "How long the encoder looks for fewer bytes.", choices=PRESETS)
    overwrite: bool = option(False, "Replace the output if it is there.")
