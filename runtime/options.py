"""The options of `translate`, `video` and `morph`, and what they share: engine, styles, encoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast import flags
from starcast.errors import OptionError
from starcast.images.fit import FITS
from starcast.images.read import MAX_PIXELS
from starcast.options import CheckedOptions, option

# of a bundle's variants; export/precisions.py defines what each must reach
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
LARGEST_SEED = 2**32 - 1  # the largest that numpy's RandomState accepts
LARGEST_BATCH = 1024
MAX_FRAME_PIXELS = 2**26  # of a video: 8192 x 8192, twice 8K
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
SHORTEST_STEP = 3  # frames: one at a style, one in between, one at the next style


@dataclass(frozen=True, kw_only=True)
class EngineChoice(CheckedOptions):
    """Which engine translates, in which precision, with how many threads and how much memory."""

    backend: str = flags.backend(
        "auto", "auto: a GPU engine if one is ready, else the fastest CPU engine, measured once on this machine."
    )
    remeasure: bool = flags.remeasure()
    precision: str = flags.precision(
        "fp32", ("auto", *PRECISIONS), "auto: the fastest in the bundle; all passed their gates."
    )
    threads: int | None = flags.threads()
    memory: float | None = option(
        None, "Memory limit in GiB for the model's weights, as the engine stores them, plus one batch; batches "
        "shrink to fit. Default: all the memory of the machine or container.", minimum=0.001,
    )  # fmt: skip

    @property
    def engine(self) -> dict[str, Any]:
        """These options as keyword arguments of Translator."""
        return {name: getattr(self, name) for name in EngineChoice.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class StyleOptions(CheckedOptions):
    """The styles that a command was asked for; `requests_from` reads them."""

    domain: str | None = flags.domain("all: one translation for each domain.")
    seed: int | None = flags.seed(
        None, "The same seed gives the same style. Default: 0, unless --ref is given.", maximum=LARGEST_SEED
    )
    ref: Path | None = option(
        None, "Reference image to take the style from. In a folder, the domain is in each file's name (dog-rex.jpg, "
        "1_rex.jpg) or subfolder (dog/rex.jpg). Other images belong to --domain.",
        metavar="IMAGE|FOLDER",
    )  # fmt: skip
    psi: float = flags.psi()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed is not None and self.ref is not None:
            raise OptionError("--seed and --ref exclude each other: a style is drawn at random or taken from an image")


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(EngineChoice, StyleOptions):
    """How `translate_all` translates, and where it writes."""

    output: Path | None = flags.out(
        None, "a folder for the translations; for one source and one style, also an image (.png, .jpg, .webp), or - "
        "for standard output.", takes_stream=True,
    )  # fmt: skip
    fit: str = flags.fit("stretch", FITS)
    format: str = option(
        "png", "Image format of translations written to a folder or to standard output.", choices=("png", "jpg", "webp")
    )
    quality: int | None = option(
        None, "Quality of JPEG and WebP; 100 is the best. Default: JPEG 95, WebP lossless.", minimum=1, maximum=100
    )
    keep_alpha: bool = option(
        False, "Make translations as transparent as their sources (PNG and WebP). Transparent areas are translated on "
        "white either way.",
    )  # fmt: skip
    metadata: bool = flags.metadata("EXIF, XMP, IPTC, comments and resolution")
    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=LARGEST_BATCH)
    overwrite: bool = flags.overwrite()
    max_pixels: int = flags.max_pixels(MAX_PIXELS)


@dataclass(frozen=True, kw_only=True)
class EncodingOptions(CheckedOptions):
    """How frames are encoded."""

    crf: int = option(
        18, "H.264 quality: 0 is lossless, 18 shows hardly any loss, 51 is the worst.", minimum=0, maximum=51
    )
    preset: str = option("medium", "Encoder speed; slower presets make smaller files.", choices=PRESETS)


@dataclass(frozen=True, kw_only=True)
class FilmOptions(EncodingOptions, EngineChoice):
    """How the frames of `video` and `morph` are translated and written."""

    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=LARGEST_BATCH)
    overwrite: bool = flags.overwrite()


@dataclass(frozen=True, kw_only=True)
class VideoOptions(FilmOptions, StyleOptions):
    """How `translate_video` translates."""

    domain: str | None = flags.domain()
    fit: str = flags.fit("crop", FITS)
    max_pixels: int = flags.max_pixels(MAX_FRAME_PIXELS, "Counted per frame.")


@dataclass(frozen=True, kw_only=True)
class MorphOptions(FilmOptions):
    """How `morph` renders its loop, through either references or seeds."""

    refs: tuple[str, ...] = option(
        (),
        "Reference images in the order of the loop, or one folder of them. Without --domain, each name must begin with "
        "its domain.",
        metavar="A.jpg,B.jpg,…",
    )
    seeds: tuple[str, ...] = option((), "Seeds of random styles, in the order of the loop.", metavar="1,2,…")
    domain: str | None = flags.domain("all, with --seeds: every domain in turn.")
    psi: float = flags.psi()
    fit: str = flags.fit("stretch", FITS)
    fps: float = option(30.0, "Frames per second.", minimum=1.0, maximum=240.0)
    frames_per_step: int = option(
        31, "Frames from one style to the next, about a third of them at rest.", minimum=SHORTEST_STEP
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.refs) == bool(self.seeds):
            raise OptionError("give --refs or --seeds, one of them: the styles that the loop goes through")
        for seed in self.seeds:
            if not seed.isdecimal() or int(seed) > LARGEST_SEED:
                raise OptionError(f"--seeds has {seed!r}: give whole numbers from 0 to {LARGEST_SEED}, with commas")
