"""What travels between the stages of a video: frames as RGB, and beside them what is kept of the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Stored:
    """Stands in the place of a frame that an earlier, interrupted run has encoded (segments.py)."""


if TYPE_CHECKING:  # only the type checker knows a packet's stream type
    from av.packet import Packet

    from starcast.runtime.video.geometry import Placing
    from starcast.runtime.video.input.film import Sound

    Beside = Sound | Packet[Any] | Stored


@dataclass(frozen=True)
class RgbFrame:
    """A frame as RGB uint8 [H, W, 3], and when it is shown, in ticks of the time base.

    Stages change frames with `dataclasses.replace`, so that what others put there stays. `ends_segment`: it is the last
    of a segment. `state`: what the stages so far remember after that frame (memory.py).
    `original` is what its translation is composed with: the whole upright frame, RGB uint8; `placing` is where the
    translation goes in it. `alpha`, uint8 [H, W], is how opaque the film's frame is; None: all of it.
    `source` is what `pixels` were translated from, where a later stage needs it.
    """

    pixels: NDArray[np.uint8]
    pts: int
    duration: int
    ends_segment: bool = False
    state: Mapping[str, NDArray[Any]] | None = None
    original: NDArray[np.uint8] | None = None
    alpha: NDArray[np.uint8] | None = None
    placing: Placing | None = None
    source: NDArray[np.uint8] | None = None
