"""The options of `align`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.images.read import MAX_PIXELS
from starcast.options import option
from starcast.runtime.video.options import EncodingOptions

SMALLEST, LARGEST = 16, 4096


@dataclass(frozen=True, kw_only=True)
class AlignOptions(EncodingOptions):
    """How `align_all` finds and aligns faces, and where it writes."""

    output: Path | None = flags.out(
        None, "a folder for the aligned images; for one source also an image (.png, .jpg, .webp), or - for standard "
        "output; for a video, a video (.mp4, .m4v, .mov or .mkv).", takes_stream=True,
    )  # fmt: skip
    landmarks: Path | None = flags.landmarks(
        "Here also the bundle of a face model. Default: the eyes and mouth that the face detector finds."
    )
    mean: Path | None = option(
        None, "Mean landmarks to align to: the official celeba_lm_mean.npz. Default: CelebA-HQ's own rule, which needs "
        "eyes and mouth alone.", metavar="FILE",
    )  # fmt: skip
    size: int = option(
        256, "Height and width of the aligned images in pixels.", minimum=SMALLEST, maximum=LARGEST
    )  # fmt: skip
    steady: bool = flags.steady()
    format: str = flags.image_format("Applies to images written to a folder or to standard output.")
    quality: int | None = flags.quality()
    keep_alpha: bool = flags.keep_alpha()
    metadata: bool = flags.metadata("EXIF, XMP, IPTC, comments and resolution")
    overwrite: bool = flags.overwrite()
    max_pixels: int = flags.max_pixels(MAX_PIXELS)
