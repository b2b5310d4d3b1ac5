"""How videos are encoded, and by which suffixes they are known: for the rooms that write them, and for those that name
them to a user. Imports nothing of films."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast.options import CheckedOptions, option

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
# suffixes of the videos that are written -> FFmpeg's name of the container
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


def is_video_path(path: Path) -> bool:
    """Whether a path names a video that can be written."""
    return path.suffix.lower() in CONTAINERS


@dataclass(frozen=True, kw_only=True)
class EncodingOptions(CheckedOptions):
    """How frames are encoded."""

    crf: int = option(
        18, "H.264 quality: 0 is lossless, 18 shows hardly any loss, 51 is the worst.", minimum=0, maximum=51
    )
    preset: str = option("medium", "Encoder speed; slower presets make smaller files.", choices=PRESETS)
