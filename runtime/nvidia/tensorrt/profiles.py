"""The shapes that an engine accepts: for every input the smallest, the one it is tuned for, and the largest.

--batch-range 8                            exactly 8
--batch-range 1:4:8                        1 to 8, tuned for 4
--size-range 512x256                       width 512, height 256, exactly
--size-range 128x128:256x256:512x512       a range, tuned for 256x256
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

from starcast.errors import OptionError
from starcast.runtime.manifest import Source

Shape = tuple[int, ...]
Profile = tuple[Shape, Shape, Shape]  # of an input: smallest, tuned for, largest
LARGEST = 2**15  # of a side or a batch: anything larger is a typing error

Part = TypeVar("Part")


@dataclass(frozen=True)
class Range:
    """A dimension that may change: from `smallest` to `largest`, tuned for `usual`."""

    smallest: int
    usual: int
    largest: int

    @classmethod
    def fixed(cls, size: int) -> Range:
        return cls(size, size, size)

    def scaled(self, by: int, of: int) -> Range:
        """The same dimension of something that has the length `by` where this has `of`."""
        return Range(*(length * by // of for length in self.all))

    @property
    def all(self) -> tuple[int, int, int]:
        return self.smallest, self.usual, self.largest


@dataclass(frozen=True)
class Sizes:
    """Ranges of the images' height and width."""

    height: Range
    width: Range


def profile(*dimensions: int | Range) -> Profile:
    """The three shapes of an input with these dimensions."""
    ranges = [Range.fixed(size) if isinstance(size, int) else size for size in dimensions]
    smallest, usual, largest = zip(*(size.all for size in ranges), strict=True)
    return smallest, usual, largest


def batch_range(text: str) -> Range:
    """Read a batch, `8`, or a range, `1:4:8`. Raises OptionError."""
    try:
        found = Range(*_three([_number(part) for part in text.split(":")]))
    except ValueError:
        raise OptionError(
            f"--batch-range is {text!r}: give one number, or the smallest, the usual and the largest, as 1:4:8"
        ) from None
    _check_order("--batch-range", text, found)
    return found


def size_range(text: str, source: Source) -> Sizes:
    """Read a size, `256x256`, or three of them. Every side is a multiple of the bundle's stride. Raises OptionError."""
    try:
        pairs = [[_number(side) for side in part.split("x")] for part in text.split(":")]
        widths, heights = zip(*_three(pairs), strict=True)
    except ValueError:
        raise OptionError(
            f"--size-range is {text!r}: give WIDTHxHEIGHT, or the smallest, the usual and the largest, as "
            "128x128:256x256:512x512"
        ) from None
    found = Sizes(Range(*heights), Range(*widths))
    for sides in (found.width, found.height):
        _check_order("--size-range", text, sides)
        for side in sides.all:
            if side % source.stride:
                above = -(-side // source.stride) * source.stride
                raise OptionError(
                    f"--size-range is {text!r}, but this bundle takes multiples of {source.stride} only: "
                    f"give {above} in place of {side}"
                )
    return found


def own_size(source: Source) -> Sizes:
    """The size that the network was trained at, fixed."""
    return Sizes(Range.fixed(source.height), Range.fixed(source.width))


def _three(parts: list[Part]) -> tuple[Part, Part, Part]:
    """Three values; a single one stands for all three. Raises ValueError."""
    smallest, usual, largest = parts * 3 if len(parts) == 1 else parts
    return smallest, usual, largest


def _number(text: str) -> int:
    """Read a number. Raises ValueError, also for `-1`, `1_0` and `٣`, which `int` would accept."""
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= LARGEST:
        raise ValueError
    return int(text)


def _check_order(flag: str, text: str, found: Range) -> None:
    if not found.smallest <= found.usual <= found.largest:
        raise OptionError(f"{flag} is {text!r}: give the smallest first and the largest last")
