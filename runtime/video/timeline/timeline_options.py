"""The options of styles that change over time."""

from __future__ import annotations

from dataclasses import dataclass

from starcast import flags
from starcast.errors import OptionError
from starcast.options import CheckedOptions, option
from starcast.runtime.seed_lists import parse_seeds
from starcast.runtime.video.timeline.keyframes import is_key_file, parse_keys

SHORTEST_STEP = 3  # frames: one at a style, one in between, one at the next style


@dataclass(frozen=True, kw_only=True)
class KeyOptions(CheckedOptions):
    """Styles at given times."""

    style_keys: str | None = option(
        None, 'Styles over time, such as "0 dog seed=7; 2.5s cat ref=tom.jpg psi=0.7; 50% wild seed=3 hold", or a YAML '
        "file of them.",
        metavar="KEYS|FILE",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.style_keys is not None and not is_key_file(self.style_keys):
            parse_keys(self.style_keys)  # raises what is wrong with it


@dataclass(frozen=True, kw_only=True)
class TimelineOptions(KeyOptions):
    """Styles over the time of a video."""

    refs: tuple[str, ...] = flags.refs("Spread evenly over the video.")
    seeds: tuple[str, ...] = flags.seeds("Each makes a random style; they are spread evenly over the video.")
    frames_per_step: int | None = flags.frames_per_step(
        None, "Default: the styles are spread over the whole video.", minimum=1
    )
    loop: bool = option(False, "Return to the first style at the end, so that the video loops smoothly.")

    smooth: float = option(
        0.0, "Less flicker: blend each translation with the last one, moved as the video moves. 0: off; 1: as much as "
        "possible.",
        minimum=0.0, maximum=1.0,
    )  # fmt: skip

    @property
    def chosen_seeds(self) -> list[int]:
        """The seeds, in order."""
        return parse_seeds(self.seeds, "--seeds")

    def check_timeline(self, one_style: str | None) -> None:
        """Raise OptionError for options that exclude each other. `one_style`: a flag that gives a single style."""
        given = {"--style-keys": self.style_keys is not None, "--refs": bool(self.refs), "--seeds": bool(self.seeds)}
        ways = [
            *([one_style] if one_style is not None else []),
            *(flag for flag, is_given in given.items() if is_given),
        ]
        if len(ways) > 1:
            raise OptionError(f"{ways[0]} and {ways[1]} exclude each other: a video gets its styles from one of them")
        several = any(given.values())
        if self.frames_per_step is not None and not (self.refs or self.seeds):
            raise OptionError("--frames-per-step is for --refs and --seeds: add one of them")
        if self.loop and not several:
            raise OptionError("--loop is for several styles: add --style-keys, --refs or --seeds")
        _ = self.chosen_seeds  # raises what is wrong with them
