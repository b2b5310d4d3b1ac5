"""The options of `starcast morph`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.errors import OptionError
from starcast.images.fit import FITS
from starcast.options import option
from starcast.runtime.video.film_options import FilmOptions

SHORTEST_STEP = 3  # frames: at one style, between, at the next


@dataclass(frozen=True, kw_only=True)
class MorphOptions(FilmOptions):
    """What `morph` does. Either references or seeds."""

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
            if not seed.isdecimal() or int(seed) >= 2**32:
                raise OptionError(f"--seeds has {seed!r}: give whole numbers from 0 to {2**32 - 1}, with commas")
