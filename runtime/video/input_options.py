"""How a film is read: the options of `video` that say what becomes of HDR and the like."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.options import CheckedOptions, option

MAP, REFUSE = "map", "refuse"


@dataclass(frozen=True, kw_only=True)
class InputOptions(CheckedOptions):
    """How frames are read from a source."""

    hdr: str = option(MAP, "HDR (PQ and HLG): tone-map it to BT.709, or refuse it.", choices=(MAP, REFUSE))


USUAL_INPUT = InputOptions()
