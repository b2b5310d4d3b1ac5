"""Advice of `align` for a video that is given where images are written, and for images where a video is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starcast.errors import printable
from starcast.images.write import WRITTEN_SUFFIXES
from starcast.runtime.encoding import CONTAINERS, is_video_path

SUFFIX = ".mp4"  # of the suggested video


def video_for_images(source: Path, output: Path | None) -> str:
    """A sentence for the video `source` where `output` is not a video: it names the command that aligns it."""
    if output is None or output.suffix.lower() in WRITTEN_SUFFIXES:
        target = Path(f"{source.stem}-aligned{SUFFIX}")
    else:
        target = output / f"{source.stem}{SUFFIX}"
    return (
        f"{printable(source)} is a video: align it separately and write a video, for example "
        f"with -o {printable(target)}"
    )


def several_videos(source: Path, videos: Sequence[Path], output: Path) -> str:
    """A sentence for a pattern or list that names several videos, where `output` is one video."""
    target = output.with_name(f"{videos[0].stem}-aligned{output.suffix}")
    return (
        f"{printable(source)} names {len(videos)} videos, but {printable(output)} takes one: align each separately, "
        f"for example {printable(videos[0])} with -o {printable(target)}"
    )


def why_no_video(sources: Sequence[Path], output: Path) -> str:
    """A sentence for an `output` that is a video, where these `sources` cannot make one."""
    if not is_video_path(output):
        images, videos = ", ".join(WRITTEN_SUFFIXES), ", ".join(CONTAINERS)
        return f"{printable(output)} cannot be written: end it in {images} for an image, in {videos} for a video"
    what = f"{len(sources)} sources are" if len(sources) > 1 else "standard input is"
    return (
        f"{printable(output)} is a video, which needs exactly one video as its source, but {what} given: give one "
        "video, or -o FOLDER for aligned images"
    )
