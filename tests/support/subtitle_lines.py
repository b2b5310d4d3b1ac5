"""The subtitles of a film, as a player shows them."""

from __future__ import annotations

from pathlib import Path

import av


def subtitles(path: Path) -> tuple[str, list[tuple[float, float, str]]]:
    """The codec, and begin, length and words of each line."""
    lines = []
    with av.open(str(path)) as film:
        (stream,) = film.streams.subtitles
        for packet in film.demux(stream):
            decoded = stream.codec_context.decode2(packet) if packet.size else None
            for rect in decoded or ():
                words = rect.ass.decode().split(",", 8)[-1].replace("{\\i1}", "").replace("{\\i0}", "")
                lasts = float(packet.duration * packet.time_base)
                lines.append(
                    (round(float(packet.pts * packet.time_base), 3), round(lasts, 3), words.replace("\\N", "\n"))
                )
        return stream.codec_context.name, [line for line in lines if line[2]]
