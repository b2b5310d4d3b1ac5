"""The options of recursion: how much of the last output is fed back, and how it moves."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.errors import OptionError
from starcast.options import CheckedOptions, option
from starcast.runtime.video.timeline.keyframes import NumberKey, parse_numbers

# smallest and largest values of each option, and its default
_RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...], str]] = {
    "recursion": ((0.0,), (1.0,), "0"),
    "recursion_zoom": ((0.5,), (2.0,), "1"),
    "recursion_rotate": ((-180.0,), (180.0,), "0"),
    "recursion_shear": ((-1.0,), (1.0,), "0"),
    "recursion_shift": ((-1000.0, -1000.0), (1000.0, 1000.0), "0,0"),
}
FLAGS = {name: f"--{name.replace('_', '-')}" for name in _RANGES}
_KEYS = "NUMBER|KEYS"


@dataclass(frozen=True, kw_only=True)
class RecursionOptions(CheckedOptions):
    """Each is a number, or keys such as `0 1; 10s 1.05`."""

    recursion: str | None = option(
        None, 'Feed the last output back: its share of the next input, 0 to 1, or keys such as "0 0.2; 10s 0.6".',
        metavar=_KEYS,
    )  # fmt: skip
    recursion_zoom: str = option("1", "How the last output grows per frame, such as 1.01; or keys.", metavar=_KEYS)
    recursion_shift: str = option(
        "0,0", "How it moves per frame to the right and down, in pixels; or keys.", metavar="X,Y|KEYS"
    )
    recursion_rotate: str = option("0", "How it turns counter-clockwise per frame, in degrees; or keys.", metavar=_KEYS)
    recursion_shear: str = option("0", "How it is sheared to the right per frame; or keys.", metavar=_KEYS)

    def __post_init__(self) -> None:
        super().__post_init__()
        keys = self.recursion_keys  # raises what is wrong with them
        moved = next(
            (FLAGS[name] for name in keys if getattr(self, name) != _RANGES[name][2] and name != "recursion"), None
        )
        if self.recursion is None and moved is not None:
            raise OptionError(f"{moved} has no effect without --recursion: add --recursion 0.5")

    @property
    def recursion_keys(self) -> dict[str, tuple[NumberKey, ...]]:
        """The keys of each option, by its name."""
        return {
            name: parse_numbers(getattr(self, name) or usual, FLAGS[name], minimum=least, maximum=most)
            for name, (least, most, usual) in _RANGES.items()
        }

    def refuse_recursion(self, reason: str) -> None:
        """Raise OptionError if the last output is to be fed back where that cannot be, for this `reason`."""
        if self.recursion is not None:
            raise OptionError(f"--recursion {reason}: leave it out")
