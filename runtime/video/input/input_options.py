"""How a film is read: the options of `video` that say what becomes of HDR and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from starcast import flags
from starcast.errors import OptionError, printable
from starcast.options import CheckedOptions, option

MAP, REFUSE = "map", "refuse"
AUTO, OFF = "auto", "off"
USUAL_RATE = Fraction(25)  # of a sequence of images
_FASTEST = 1000
_RATE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9}|/[0-9]{1,7})?", re.ASCII)
_NTSC_ROUNDING = Fraction(5, 1000)  # 23.98 is 24000/1001, and 59.9 is not 60000/1001
_STREAM = re.compile(r"(v:)?[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class InputOptions(CheckedOptions):
    """How frames are read from a source."""

    hdr: str = option(MAP, "HDR (PQ and HLG): tone-map it to BT.709, or refuse it.", choices=(MAP, REFUSE))
    deinterlace: str = option(
        AUTO, "Deinterlace the frames that are flagged as interlaced, or leave all as they are.", choices=(AUTO, OFF)
    )
    stream: str | None = option(
        None, "The video stream to translate if a file has several: its number as ffprobe shows it, or v:0, v:1 … "
        "in order.", metavar="N",
    )  # fmt: skip
    fps: str | None = flags.fps(
        None,
        "Frames are dropped or repeated to keep their times; a sequence of images has this rate. Default: each frame's "
        "own time; in a sequence, 25.",
    )
    keep_alpha: bool = flags.keep_alpha("WebM, ProRes 4444, FFV1, GIF, WebP and PNG")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stream is not None and not _STREAM.fullmatch(self.stream):
            raise OptionError(f"--stream takes the number of a stream, such as 1 or v:1, not {printable(self.stream)}")
        _ = self.rate  # raises what is wrong with it

    @property
    def rate(self) -> Fraction | None:
        """The frames per second that were asked for, exactly."""
        return None if self.fps is None else parse_rate(self.fps)


def parse_rate(text: str) -> Fraction:
    """Frames per second, as a number or a ratio; 23.976, 29.97 and the like are the exact rates of NTSC that they
    stand for. Raises OptionError."""
    if _RATE.fullmatch(text):
        whole, _, divisor = text.partition("/")
        if not divisor or int(divisor):
            rate = Fraction(whole) / int(divisor or 1)
            nearest = Fraction(round(rate), 1) * Fraction(1000, 1001)
            if "." in text and abs(rate - nearest) < _NTSC_ROUNDING:
                rate = nearest
            if Fraction(1, 1000) <= rate <= _FASTEST:
                return rate
    raise OptionError(
        f"--fps takes frames per second, up to {_FASTEST}, such as 24, 29.97 or 30000/1001, not {printable(text)}"
    )


USUAL_INPUT = InputOptions()
