"""How a film is read: the options of `video` that say what becomes of HDR and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starcast.errors import OptionError, printable
from starcast.options import CheckedOptions, option

MAP, REFUSE = "map", "refuse"
AUTO, OFF = "auto", "off"
_STREAM = re.compile(r"(v:)?[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class InputOptions(CheckedOptions):
    """How frames are read from a source."""

    hdr: str = option(MAP, "HDR (PQ and HLG): tone-map it to BT.709, or refuse it.", choices=(MAP, REFUSE))
    deinterlace: str = option(
        AUTO, "Deinterlace the frames that are flagged as interlaced, or leave all as they are.", choices=(AUTO, OFF)
    )
    stream: str | None = option(
        None, "The video stream to translate, where a file has several: its number as ffprobe shows it, or v:0, v:1 … "
        "in order.", metavar="N",
    )  # fmt: skip
    keep_alpha: bool = option(
        False, "Make the video as transparent as its source. Transparent areas are read as white either way."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stream is not None and not _STREAM.fullmatch(self.stream):
            raise OptionError(f"--stream takes the number of a stream, such as 1 or v:1, not {printable(self.stream)}")


USUAL_INPUT = InputOptions()
