"""How videos are encoded, and by which suffixes they are known: for the rooms that write them, and for those that name
them to a user. Imports nothing of films."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from starcast.errors import OptionError, printable
from starcast.options import CheckedOptions, option

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
CODECS = ("h264", "hevc", "av1", "vp9", "prores", "ffv1")
RGB = "rgb"
NONE, AUTO = "none", "auto"
HARDWARE = (NONE, AUTO, "nvenc", "vaapi", "videotoolbox", "qsv")
PIXEL_FORMATS = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10", "yuv422p10", "yuv444p10", RGB)
# suffixes of the videos that are written -> FFmpeg's name of the container
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# suffixes of the animations that are written -> FFmpeg's name of the format
ANIMATIONS = {".gif": "gif", ".webp": "webp", ".png": "apng", ".apng": "apng"}
SEQUENCES = (".png", ".jpg", ".jpeg")
_NUMBER = re.compile(r"%(?:0([1-9]))?d")

_LEAST_BITRATE, _MOST_BITRATE = 1_000, 2_000_000_000
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def is_sequence(path: Path) -> bool:
    """Whether a path stands for numbered images: `shot_%05d.png`."""
    return path.suffix.lower() in SEQUENCES and _NUMBER.search(path.name) is not None


def check_sequence(path: Path) -> None:
    """Raise OptionError for a sequence of images whose name has more than one number."""
    if is_sequence(path) and len(_NUMBER.findall(path.name)) > 1:
        raise OptionError(f"{printable(path)} has two places for a number: give it one, such as shot_%05d.png")


def image_at(path: Path, number: int) -> Path:
    """The image of a sequence, from 1 on; any other path as it is."""
    if not is_sequence(path):
        return path
    return path.with_name(_NUMBER.sub(lambda match: f"{number:0{int(match[1] or 0)}d}", path.name))


def images_of(path: Path) -> list[Path]:
    """The images of a sequence that are there, in no order; of any other path none."""
    if not is_sequence(path) or not path.parent.is_dir():
        return []
    name = re.compile(r"[0-9]+".join(map(re.escape, re.split(_NUMBER.pattern.replace("([1-9])", "[1-9]"), path.name))))
    return [image for image in path.parent.iterdir() if name.fullmatch(image.name)]


def is_video_path(path: Path) -> bool:
    """Whether a path names a video that can be written."""
    return path.suffix.lower() in CONTAINERS


def container_of(path: Path) -> str:
    """FFmpeg's name for the container of a file's suffix. Raises OptionError."""
    try:
        return CONTAINERS[path.suffix.lower()]
    except KeyError:
        raise OptionError(
            f"{printable(path)} cannot be written: end its name in {', '.join((*CONTAINERS, *ANIMATIONS))}, or write "
            "numbered images, such as shot_%05d.png or .jpg"
        ) from None


@dataclass(frozen=True, kw_only=True)
class EncodingOptions(CheckedOptions):
    """How frames are encoded. None leaves the choice to the codec and the container: see `video.codecs.complete`."""

    codec: str | None = option(None, "Video codec. Default: vp9 in .webm, otherwise h264.", choices=CODECS)
    crf: int | None = option(
        None, "Quality; lower is better. h264 and hevc: 0 to 51, default 18 and 22; av1: 1 to 63, default 24; vp9: 0 "
        "to 63, default 24. prores and ffv1 have none.", minimum=0, maximum=63,
    )  # fmt: skip
    bitrate: str | None = option(None, "Average bits per second in place of --crf, such as 8M or 900k.", metavar="RATE")
    preset: str | None = option(
        None, "Encoder speed; slower presets make smaller files. Default: medium. av1 and vp9 get the nearest of their "
        "own speeds.", choices=PRESETS,
    )  # fmt: skip
    pixel_format: str | None = option(
        None, "Chroma resolution and bits per channel. rgb, with ffv1, stores every pixel exactly. Default: yuv420p; "
        "prores yuv422p10, ffv1 rgb.", choices=PIXEL_FORMATS,
    )  # fmt: skip

    hardware: str = option(
        NONE, "Encode on a GPU or another chip: faster, in larger files. auto takes the first that works; without one, "
        "the CPU encodes, and a message shows why.", choices=HARDWARE,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.bits_per_second  # raises what is wrong with it
        if self.crf is not None and self.bitrate is not None:
            raise OptionError("--crf asks for a quality and --bitrate for a size: give one of them")

    @property
    def keeps_alpha(self) -> bool:
        """Whether the film is to be as transparent as its source, which only some commands offer."""
        return bool(getattr(self, "keep_alpha", False))

    @property
    def may_be_odd(self) -> bool:
        """Whether width and height may be odd, because every pixel has colours of its own."""
        if self.pixel_format is None:
            return self.codec == "ffv1"
        return self.pixel_format in ("yuv444p", "yuv444p10", RGB)

    @property
    def bits_per_second(self) -> int | None:
        """What `bitrate` says; None if it was not given."""
        if self.bitrate is None:
            return None
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([kmg]?)", self.bitrate.strip().lower())
        bits = round(float(match[1]) * _UNITS[match[2]]) if match else 0
        if not _LEAST_BITRATE <= bits <= _MOST_BITRATE:
            raise OptionError(
                f"--bitrate {self.bitrate} is not a bitrate from 1k to 2G: write bits per second, such as 8M or 900k"
            )
        return bits
