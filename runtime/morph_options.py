"""The options of `starcast morph`."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.errors import OptionError
from starcast.options import option
from starcast.runtime.fit import FITS
from starcast.runtime.video.film_options import FilmOptions

SHORTEST_STEP = 3  # frames: at one style, between, at the next


@dataclass(frozen=True, kw_only=True)
class MorphOptions(FilmOptions):
    """What `morph` does. Either references or seeds."""

    refs: tuple[str, ...] = option(
        (),
        "References in the order of the loop: pictures, or one folder of them. Without --domain each one's name begins "
        "with its domain.",
        metavar="A.jpg,B.jpg,…",
    )
    seeds: tuple[str, ...] = option((), "Seeds of latents in the order of the loop.", metavar="1,2,…")
    domain: str | None = option(None, "Domain of the styles, by name or number; with seeds also all.", metavar="NAME")
    psi: float = option(1.0, "1 keeps a style, 0 is the domain's mean style.", minimum=0.0, maximum=2.0)
    fit: str = option("stretch", "How the source gets the model's size: stretch as the official code does, "
                      "crop the centre, or pad with black; native keeps its own size.", choices=FITS)  # fmt: skip
    fps: float = option(30.0, "Frames a second.", minimum=1.0, maximum=240.0)
    frames_per_step: int = option(
        31, "Frames from one style to the next; about a third of them rest at the next.", minimum=SHORTEST_STEP
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.refs) == bool(self.seeds):
            raise OptionError("give --refs or --seeds, one of them: the styles that the loop goes through")
        for seed in self.seeds:
            if not seed.isdecimal() or int(seed) >= 2**32:
                raise OptionError(f"--seeds has {seed!r}: give whole numbers from 0 to {2**32 - 1}, with commas")
