"""ffmpeg commands that convert a video that cannot be read, or not well.

Matroska can hold nearly every sound format unchanged. Other sound becomes FLAC, which is lossless.
"""

from __future__ import annotations

from collections.abc import Iterable

from av.stream import Stream

from starcast.command_line import command_line
from starcast.runtime.video.output.containers import takes

COPY = "copy"
FIND_LATE_STREAMS = (
    "ffmpeg", "-analyzeduration", "10G", "-probesize", "10G", "-i", "IN", "-map", "0", "-dn", "-c", COPY, "OUT.mkv"
)  # fmt: skip
QUALITY = ("-c:v", "libx264", "-crf", "12")  # it is encoded again afterwards


def tone_map(source: str) -> str:
    """Filters from HDR to BT.709. `source`: zscale's options that describe the video."""
    to_linear = f"zscale={source}:t=linear:npl=100,format=gbrpf32le"
    return f"{to_linear},zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"


def ffmpeg_line(filters: str, *, sound: str = COPY) -> str:
    """A command in backquotes: `filters` for the frames of the first stream that is no cover, every sound kept."""
    words = ("ffmpeg", "-i", "IN", "-map", "0:V:0", "-map", "0:a?", "-vf", filters, *QUALITY, "-c:a", sound, "OUT.mkv")
    return f"`{command_line(*words)}`"


def sound_for(streams: Iterable[Stream]) -> str:
    """What ffmpeg should do with the sound of a film: `copy`, if Matroska takes it all."""
    sounds = [stream for stream in streams if stream.type == "audio"]
    return COPY if all(takes("matroska", [sound]) for sound in sounds) else "flac"
