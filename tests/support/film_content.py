"""Everything that a film shows, for comparing films that are to be equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

# PyAV makes no array of some formats: another one that holds the same
_ALIKE = {"bgr0": "bgra", "yuva444p12le": "yuva444p16le"}


def content(path: Path) -> list[Any]:
    """The frames with their times, the packets of the other streams, and facts of all streams."""
    with av.open(str(path)) as film:
        shown: list[tuple[str, int | None, int | None, bytes]] = []
        for packet in film.demux():
            if packet.stream.type != "video":
                shown.append((packet.stream.type, packet.pts, packet.duration, bytes(packet)))
                continue
            shown += [("video", frame.pts, None, _pixels(frame)) for frame in packet.decode()]
        facts = [(stream.type, stream.time_base, stream.start_time, stream.duration) for stream in film.streams]
        return [*sorted(shown, key=lambda one: (one[0], one[1] or 0)), *facts]


def _pixels(frame: av.VideoFrame) -> bytes:
    alike = _ALIKE.get(frame.format.name)
    return bytes((frame if alike is None else frame.reformat(format=alike)).to_ndarray().tobytes())
