"""The options that `starcast video` and `starcast morph` share: how frames are made and written."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.options import option
from starcast.runtime.engine_choice import EngineChoice

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
MAX_PIXELS = 2**26  # of a frame: 8192 x 8192, twice 8K


@dataclass(frozen=True, kw_only=True)
class FilmOptions(EngineChoice):
    """How frames are translated and written."""

    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=1024)
    crf: int = option(
        18, "H.264 quality: 0 is lossless, 18 shows hardly any loss, 51 is the worst.", minimum=0, maximum=51
    )  # fmt: skip
    preset: str = option("medium", "Encoder speed; slower presets make smaller files.", choices=PRESETS)
    overwrite: bool = flags.overwrite()
