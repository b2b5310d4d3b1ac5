"""The options of `starcast translate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.options import option
from starcast.runtime.engine_choice import EngineChoice
from starcast.runtime.images import FITS, MAX_PIXELS
from starcast.runtime.styles import StyleOptions


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(EngineChoice, StyleOptions):
    """What `translate_all` does, and where it puts it."""

    output: Path | None = option(
        None,
        "Folder for the translations; with one source and one style also a picture's name (.png, .jpg, .webp).",
        flags=("-o", "--output"),
        metavar="OUT",
    )
    fit: str = option("stretch", "How a source gets the model's size: stretch as the official code does, "
                      "crop the centre, or pad with black; native keeps its own size.", choices=FITS)  # fmt: skip
    format: str = option("png", "Format of the translations in a folder.", choices=("png", "jpg", "webp"))
    batch: int | None = option(
        None, "Pictures that the engine gets at a time; without it as many as make it fastest, 1 or 4.",
        minimum=1, maximum=1024,
    )  # fmt: skip
    overwrite: bool = option(False, "Make translations again that are there.")
    max_pixels: int = option(MAX_PIXELS, "Sources with more pixels are refused before decoding.", minimum=1)
