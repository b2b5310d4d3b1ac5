"""Where the segments of a film end: each is encoded on its own, so that a film can go on behind the last whole one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from starcast.runtime.video.frames import RgbFrame

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

SEGMENT_FRAMES = 256  # ten seconds: a crash costs no more, and one key frame in 250 is what x264 takes by itself


def end_segments(items: Iterable[RgbFrame | Beside], begin: int = 0) -> Iterator[RgbFrame | Beside]:
    """The same items; frames know whether they end a segment. `begin` frames of the film came before."""
    number = begin
    for item in items:
        if isinstance(item, RgbFrame):
            number += 1
            if number % SEGMENT_FRAMES == 0:
                item = replace(item, ends_segment=True)
        yield item
