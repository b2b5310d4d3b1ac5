"""The options of `generate`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.errors import OptionError
from starcast.options import option
from starcast.runtime.options import LARGEST_BATCH, EngineChoice
from starcast.runtime.seed_lists import parse_mixes, parse_seeds

DEFAULT_SEEDS = "0-15"
NOISES = ("constant", "random", "zero")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(EngineChoice):
    """Which images `generate` makes, and where it writes them."""

    output: Path | None = flags.out(
        None, "a folder for the images, or a file (.png, .jpg, .webp) for a single image or grid."
    )
    seeds: tuple[str, ...] = flags.seeds(f"Each seed makes one image. Default: {DEFAULT_SEEDS}, unless --mix is given.")
    mix: tuple[str, ...] = option(
        (), "Pairs of seeds to mix. 3:7 takes the layers before --layer (shape and pose) from seed 3, and the others "
        "(colours and texture) from seed 7. 0-3:7 makes four images.",
        metavar="3:7,…",
    )  # fmt: skip
    layer: int | None = option(
        None, "First layer that --mix takes from the second seed, counted from 0. Default: the middle layer.",
        minimum=1,
    )  # fmt: skip
    psi: float = flags.psi("the mean style, and 0.5 to 0.8 gives less variety and fewer failures")
    noise: str = option(
        "constant", "Noise in the layers. constant: the checkpoint's own, or a fixed seed's if it has none; random: "
        "drawn from the image's seed (for a mix, the first); zero: none.", choices=NOISES,
    )  # fmt: skip
    grid: str | None = option(
        None, "Write grids of this size instead of single images. Images that do not fit go into further grids.",
        metavar="COLUMNSxROWS",
    )  # fmt: skip
    each: bool = option(False, "With --grid: also write each image to a file of its own.")
    format: str = flags.image_format("Applies to images written to a folder.")
    quality: int | None = flags.quality()
    batch: int | None = flags.batch(None, "Default: the faster of 1 and 4.", maximum=LARGEST_BATCH)
    overwrite: bool = flags.overwrite()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.each and self.grid is None:
            raise OptionError("--each needs --grid: without --grid, each image is written anyway")
        if self.layer is not None and not self.mix:
            raise OptionError("--layer needs --mix: give a pair of seeds to mix, such as --mix 3:7")
        _ = self.grid_shape, self.chosen_seeds, self.mixes  # raise what is wrong with them

    @property
    def grid_shape(self) -> tuple[int, int] | None:
        """(columns, rows) of a grid."""
        if self.grid is None:
            return None
        match = re.fullmatch(r"([0-9]{1,5})[xX×]([0-9]{1,5})", self.grid, re.ASCII)
        columns, rows = (int(match[1]), int(match[2])) if match else (0, 0)
        if not columns * rows:
            raise OptionError(f"--grid is {self.grid!r}: give columns x rows, such as 4x4")
        return columns, rows

    @property
    def chosen_seeds(self) -> list[int]:
        """The seeds; each makes one image."""
        return parse_seeds(self.seeds or (() if self.mix else (DEFAULT_SEEDS,)), "--seeds")

    @property
    def mixes(self) -> list[tuple[int, int]]:
        """The pairs of seeds; each makes one image."""
        return parse_mixes(self.mix, "--mix")
