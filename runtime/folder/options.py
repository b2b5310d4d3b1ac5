"""The options of `starcast translate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.images.fit import FITS
from starcast.images.read import MAX_PIXELS
from starcast.options import option
from starcast.runtime.engine_choice import EngineChoice
from starcast.runtime.style_requests import StyleOptions


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(EngineChoice, StyleOptions):
    """What `translate_all` does, and where it puts it."""

    output: Path | None = flags.out(
        None, "a folder for the translations; for one source and one style, also an image (.png, .jpg, .webp)."
    )
    fit: str = flags.fit("stretch", FITS)
    format: str = option("png", "Image format of translations written to a folder.", choices=("png", "jpg", "webp"))
    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=1024)
    overwrite: bool = flags.overwrite()
    max_pixels: int = flags.max_pixels(MAX_PIXELS)
