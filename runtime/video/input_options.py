"""How a film is read: the options of `video` that say what becomes of HDR and the like."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option

MAP, REFUSE = "map", "refuse"
AUTO, OFF = "auto", "off"


@dataclass(frozen=True, kw_only=True)
class InputOptions(CheckedOptions):
    """How frames are read from a source."""

    hdr: str = option(MAP, "HDR (PQ and HLG): tone-map it to BT.709, or refuse it.", choices=(MAP, REFUSE))
    deinterlace: str = option(
        AUTO, "Deinterlace the frames that are flagged as interlaced, or leave all as they are.", choices=(AUTO, OFF)
    )
    keep_alpha: bool = option(
        False, "Make the video as transparent as its source. Transparent areas are read as white either way."
    )


USUAL_INPUT = InputOptions()
