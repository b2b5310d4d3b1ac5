"""What `align` says of videos that it is asked for as images, and of images that it is asked for as a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starcast.errors import printable
from starcast.images.write import WRITTEN_SUFFIXES
from starcast.runtime.video.options import CONTAINERS, is_video

SUFFIX = ".mp4"  # of the suggested video


def video_for_images(source: Path, output: Path | None) -> str:
    """A sentence for the video `source` where `output` is no video: it names the command that aligns it."""
    if output is None or output.suffix.lower() in WRITTEN_SUFFIXES:
        target = Path(f"{source.stem}-aligned{SUFFIX}")
    else:
        target = output / f"{source.stem}{SUFFIX}"
    return (
        f"{printable(source)} is a video, and the output is not: align a video's file by itself into another video, "
        f"such as -o {printable(target)}"
    )


def why_no_video(sources: Sequence[Path], output: Path) -> str:
    """A sentence for an `output` that is a video, where these `sources` cannot make one."""
    if not is_video(output):
        images, videos = ", ".join(WRITTEN_SUFFIXES), ", ".join(CONTAINERS)
        return f"{printable(output)} cannot be written: end it in {images} for an image, in {videos} for a video"
    what = f"{len(sources)} sources are" if len(sources) > 1 else "standard input is"
    return (
        f"{printable(output)} is a video, which is made of one video file, and {what} given: give one video, or -o a "
        "folder for aligned images"
    )
