"""The options of `translate`, and those shared with `video`, `morph` and `generate`: engine, labels and styles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast import flags
from starcast.errors import OptionError
from starcast.images.fit import FITS
from starcast.images.read import MAX_PIXELS
from starcast.options import CheckedOptions, option
from starcast.runtime.seed_lists import LARGEST_SEED

# of a bundle's variants; export/precisions.py defines what each must reach
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
LARGEST_BATCH = 1024
_USUAL_FIT = "stretch"  # of translate
FACES = ("largest", "all")


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
    threads: int | None = flags.threads(
        "Maximum: as many as this process may use. Default: all of them, or half if that is measured to be faster "
        "beside the command's other work."
    )
    memory: float | None = option(
        None, "Memory limit in GiB for the model's weights, as the engine stores them, plus one batch; batches "
        "shrink to fit. Default: all the memory of the machine or container.", minimum=0.001,
    )  # fmt: skip

    @property
    def engine(self) -> dict[str, Any]:
        """These options as keyword arguments of Translator."""
        return {name: getattr(self, name) for name in EngineChoice.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class LabelOptions(CheckedOptions):
    """For bundles steered by labels: changes to the source's labels, or all labels of the translation."""

    set: tuple[str, ...] = flags.label_names(
        "Attributes to turn on, or the class to translate to. A hair colour turns the other hair colours off."
    )
    unset: tuple[str, ...] = flags.label_names("Attributes to turn off.")
    flip: tuple[str, ...] = flags.label_names("Attributes to turn on if the source lacks them, and off if it has them.")
    has: tuple[str, ...] | None = flags.label_names(
        "Attributes that the source has; none: no attribute. Default: what the bundle's classifier reads.",
        default=None,
    )
    labels: tuple[float, ...] | None = option(
        None, "All labels of the translation as numbers, in the bundle's order, instead of changes to the source's.",
        metavar="1,0,…",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None:
            others = [flag for flag in ("--set", "--unset", "--flip", "--has") if flag in self.label_flags]
            if others:
                raise OptionError(f"--labels already gives every label of the translation: leave out {others[0]}")
            if not all(map(math.isfinite, self.labels)) or not self.labels:
                raise OptionError("--labels needs a finite number for each of the bundle's labels, such as 1,0,1")

    @property
    def label_flags(self) -> list[str]:
        """Which of these flags were given."""
        given = {"--set": self.set, "--unset": self.unset, "--flip": self.flip}
        lists = [flag for flag, names in given.items() if names]
        optional = {"--has": self.has, "--labels": self.labels}
        return lists + [flag for flag, value in optional.items() if value is not None]

    @property
    def change_flag(self) -> str | None:
        """The first of these flags that was given and says what a translation becomes."""
        return next((flag for flag in self.label_flags if flag != "--has"), None)

    def refuse_domain(self, domain: str | None) -> None:
        """Raise OptionError if a domain is given beside changes of labels."""
        if domain is not None and self.change_flag is not None:
            raise OptionError(
                f"--domain and {self.change_flag} exclude each other: --domain changes one label per translation"
            )


@dataclass(frozen=True, kw_only=True)
class StyleOptions(LabelOptions):
    """The styles that a command was asked for; `requests_from` reads them."""

    domain: str | None = flags.domain("cat,dog: one translation for each of these; all: for each domain.")
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
        self.refuse_domain(self.domain)


@dataclass(frozen=True, kw_only=True)
class FaceOptions(CheckedOptions):
    """Whether faces are aligned for the model and put back, which ones, and with which files."""

    align: bool = option(
        False, "Find the face, align it, translate it, and put it back with a soft edge. The rest of the image does "
        "not change. References are aligned, too."
    )  # fmt: skip
    faces: str = option("largest", "With --align, the faces to translate.", choices=FACES)
    landmarks: Path | None = flags.landmarks(
        "A face model's bundle works, too. Default: BUNDLE's own landmark network, or else the detector. Needs --align."
    )
    mean: Path | None = flags.mean("Needs --align.")

    def refuse_without_align(self, fit: str, usual_fit: str) -> None:
        """Raise OptionError for options that have no effect, with or without --align. `fit` is the command's --fit,
        `usual_fit` its default."""
        if self.align and fit != usual_fit:
            raise OptionError(
                f"--align and --fit {fit} exclude each other: with --align, only the face is fitted to the model"
            )
        if not self.align and self.faces != FACES[0]:
            raise OptionError("--faces has no effect without --align: add --align")
        files = {"--landmarks": self.landmarks, "--mean": self.mean}
        given = [flag for flag, path in files.items() if path is not None]
        if not self.align and given:
            has = "have" if given[1:] else "has"
            raise OptionError(f"{' and '.join(given)} {has} no effect without --align: add --align")


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(EngineChoice, FaceOptions, StyleOptions):
    """How `translate_all` translates, and where it writes."""

    output: Path | None = flags.out(
        None, "a folder for the translations; for one source and one style, also an image (.png, .jpg, .webp), or - "
        "for standard output.", takes_stream=True,
    )  # fmt: skip
    fit: str = flags.fit(_USUAL_FIT, FITS)
    format: str = flags.image_format("Applies to translations written to a folder or to standard output.")
    quality: int | None = flags.quality()
    keep_alpha: bool = flags.keep_alpha("PNG and WebP")
    metadata: bool = flags.metadata("EXIF, XMP, IPTC, comments and resolution")
    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=LARGEST_BATCH)
    overwrite: bool = flags.overwrite()
    max_pixels: int = flags.max_pixels(MAX_PIXELS)
    sheet: Path | None = option(
        None, "Also write all sources, references and translations side by side into one image (.png, .jpg, .webp).",
        metavar="FILE",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_without_align(self.fit, _USUAL_FIT)
