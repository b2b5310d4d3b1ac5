"""The options of `align`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from starcast import flags
from starcast.errors import OptionError
from starcast.images.read import MAX_PIXELS
from starcast.options import flag_of, option
from starcast.runtime.encoding import EncodingOptions, is_video_path

SMALLEST, LARGEST = 16, 4096
IMAGES_ALONE, VIDEOS_ALONE = (
    ("format", "quality", "keep_alpha"),
    (
        "steady",
        "codec",
        "crf",
        "bitrate",
        "preset",
        "pixel_format",
        "hardware",
        "restart",
    ),
)  # what options are for


@dataclass(frozen=True, kw_only=True)
class AlignOptions(EncodingOptions):
    """How `align_all` finds and aligns faces, and where it writes."""

    output: Path | None = flags.out(
        None, "a folder for the aligned images; for one source also an image (.png, .jpg, .webp), or - for standard "
        "output; for a video, a video (.mp4, .m4v, .mov, .mkv or .webm).", takes_stream=True,
    )  # fmt: skip
    landmarks: Path | None = flags.landmarks(
        "A face model's bundle works, too. Default: the face detector, which finds eyes and mouth."
    )
    mean: Path | None = flags.mean()
    size: int = option(
        256, "Height and width of the aligned images in pixels.", minimum=SMALLEST, maximum=LARGEST
    )  # fmt: skip
    steady: bool = flags.steady()
    format: str = flags.image_format("Applies to images written to a folder or to standard output.")
    quality: int | None = flags.quality()
    keep_alpha: bool = flags.keep_alpha("PNG and WebP")
    metadata: bool = flags.metadata("EXIF, XMP, IPTC, comments and resolution")
    overwrite: bool = flags.overwrite()
    restart: bool = flags.restart()
    max_pixels: int = flags.max_pixels(MAX_PIXELS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is None:
            return
        video = is_video_path(self.output)
        self._refuse_without_effect(video)
        if video and self.size % 2 and not self.may_be_odd:
            raise OptionError(
                f"--size is {self.size}, but a video's width and height must be even: give --size {self.size + 1}"
            )

    def _refuse_without_effect(self, video: bool) -> None:
        """Raise OptionError for an option of images if a `video` is written, and the other way round."""
        for field in dataclasses.fields(self):
            if field.name in (IMAGES_ALONE if video else VIDEOS_ALONE) and getattr(self, field.name) != field.default:
                flag = flag_of(field).replace("--", "--no-" if field.default is True else "--", 1)
                kinds, other = ("images", "a video") if video else ("videos", "not a video")
                raise OptionError(f"{flag} is for {kinds}, and the output is {other}: leave it out")
