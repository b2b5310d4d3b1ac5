"""The options that say which part of a video's frames is translated, and what the translation is composed with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starcast.errors import OptionError
from starcast.options import CheckedOptions, option

if TYPE_CHECKING:
    from starcast.runtime.video.geometry import Box

FEATHER, HALF = 0.1, 0.5
LAYOUTS = TRANSLATION, SIDE_BY_SIDE, SPLIT, STACKED = "translation", "side-by-side", "split", "stacked"
_ROI = "--roi needs the left, top, width and height of a part of the frame, in pixels or percent, such as"
_EXAMPLE = "320,0,480,480 or 25%,0%,50%,100%"


@dataclass(frozen=True, kw_only=True)
class GeometryOptions(CheckedOptions):
    """Which part of a frame is translated, whether the translation is put back, and what is shown beside it."""

    keep_size: bool = option(
        False, "Put the translation back into the frame: the output has the video's own size. With --fit crop, the "
        "rest of the frame stays.",
    )  # fmt: skip
    roi: tuple[str, ...] = option(
        (), "Translate only this part of each frame, and put it back: left, top, width and height in pixels of the "
        "upright frame, or in percent.", metavar="X,Y,W,H",
    )  # fmt: skip
    feather: float = option(
        FEATHER, "Width of the soft edge of what is put back, as a share of its shorter side; 0 makes it hard.",
        minimum=0.0, maximum=0.5,
    )  # fmt: skip

    layout: str = option(
        TRANSLATION, "What each frame shows: the translation, the source beside it (side-by-side) or above it "
        "(stacked), or the source left of --split-at and the translation right of it (split).", choices=LAYOUTS,
    )  # fmt: skip
    split_at: float = option(
        HALF, "With --layout split, the share of the width at which the translation begins.", minimum=0.0, maximum=1.0
    )
    opacity: float = option(1.0, "Opacity of the translation over the source.", minimum=0.0, maximum=1.0)
    match_colour: bool = option(
        False, "Give each translated frame, or face, the brightness, contrast and tint of its source."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _lengths(self.roi)
        if self.split_at != HALF and self.layout != SPLIT:
            raise OptionError("--split-at has no effect without --layout split: add it")
        if self.keep_size and self.roi:
            raise OptionError("--roi puts its part back into the frame anyway: leave out --keep-size")
        if self.feather != FEATHER and not self.puts_back:
            raise OptionError("--feather has no effect without --keep-size or --roi: add one of them")

    @property
    def composes(self) -> bool:
        """Whether frames are composed of their sources and translations before they are encoded."""
        return self.puts_back or self.layout != TRANSLATION or self.opacity != 1 or self.match_colour

    def output_size(self, frame: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the film, whose sources and translations have the size `frame`."""
        height, width = frame
        return height * (1 + (self.layout == STACKED)), width * (1 + (self.layout == SIDE_BY_SIDE))

    @property
    def puts_back(self) -> bool:
        """Whether the translation is put back into the frame."""
        return self.keep_size or bool(self.roi)

    def refuse_to_put_back_faces(self) -> None:
        """Raise OptionError for options that mean nothing beside --align."""
        if self.roi:
            raise OptionError(
                "--align and --roi exclude each other: with --align, the face is the part that is translated"
            )
        if self.keep_size:
            raise OptionError("--align keeps the video's size anyway: leave out --keep-size")

    def roi_in(self, frame: tuple[int, int], name: str) -> Box | None:
        """The part to translate of a frame of (height, width) pixels, which `name` shows. Raises OptionError."""
        if not self.roi:
            return None
        height, width = frame
        left, top, *size = [
            value * side / 100 if is_percent else value
            for (value, is_percent), side in zip(_lengths(self.roi), (width, height) * 2, strict=True)
        ]
        box = round(left), round(top), round(left + size[0]), round(top + size[1])
        if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
            raise OptionError(
                f"--roi {','.join(self.roi)} lies partly outside the frames of {name}, which are {width}x{height} "
                f"pixels: give a part within them"
            )
        if box[0] >= box[2] or box[1] >= box[3]:
            raise OptionError(
                f"--roi {','.join(self.roi)} is less than a pixel of {name}, whose frames are {width}x{height} pixels: "
                "give a larger part"
            )
        return box


def _lengths(roi: tuple[str, ...]) -> list[tuple[float, bool]]:
    """The four numbers of --roi, and whether each is in percent; none if it was not given. Raises OptionError."""
    if not roi:
        return []
    lengths = []
    for part in roi:
        is_percent = part.endswith("%")
        try:
            value = float(part.removesuffix("%")) if is_percent else int(part)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise OptionError(f"{_ROI} {_EXAMPLE}, not {','.join(roi)}")
        lengths.append((value, is_percent))
    if len(lengths) != 4:
        raise OptionError(f"{_ROI} {_EXAMPLE}, not {','.join(roi)}")
    if min(value for value, _ in lengths[2:]) <= 0:
        raise OptionError(f"--roi {','.join(roi)} has no size: give a width and a height above 0")
    return lengths
