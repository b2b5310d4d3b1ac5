"""How files of videos are told from others: the suffixes of videos, and animations among images."""

from __future__ import annotations

from pathlib import Path

from starcast.errors import ImageError
from starcast.images.multi_image import several_in
from starcast.images.read import open_image

# what cameras, phones, editors and broadcasters write
SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".m2ts", ".mts",
    ".mxf", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".dv", ".y4m", ".mjpeg", ".mjpg", ".nut", ".gxf",
    ".ivf", ".h264", ".264", ".hevc", ".h265", ".265", ".rm", ".rmvb", ".wtv",
})  # fmt: skip
ANIMATED = frozenset({".gif", ".png", ".apng", ".webp", ".avif"})
_ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")  # Pillow's names


def is_animated(path: Path) -> bool:
    """Whether a file is an animation, not a still image."""
    try:
        with open_image(path) as (image, _):
            return image.format in _ANIMATED_FORMATS and several_in(image) is not None
    except ImageError:
        return False
