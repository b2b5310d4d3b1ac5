"""The codecs that films are written in: encoders, pixel formats, containers and scales of quality. One table, asked
before anything is opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from starcast.errors import OptionError, printable
from starcast.runtime.encoding import (
    ANIMATIONS,
    AUTO,
    CONTAINERS,
    NONE,
    PRESETS,
    RGB,
    EncodingOptions,
    container_of,
    is_sequence,
)

Options = TypeVar("Options", bound=EncodingOptions)


@dataclass(frozen=True)
class Crf:
    """A codec's scale of quality, lower being better, and where it starts without --crf."""

    least: int
    most: int
    usual: int


@dataclass(frozen=True)
class Codec:
    """What is known of a codec. `encoders` are FFmpeg's, in order of choice: the first that is there and has the pixel
    format is used. The first of `pixel_formats` is used if none is asked for."""

    title: str
    encoders: tuple[str, ...]
    pixel_formats: tuple[str, ...]
    containers: tuple[str, ...]  # FFmpeg's names; the first is for a folder as output
    crf: Crf | None = None  # None: no quality can be asked for, and no bitrate
    has_presets: bool = True
    alpha: tuple[str, ...] = ()  # the pixel formats that can be transparent, the usual one first
    alpha_containers: tuple[str, ...] = ()  # which keep that


_EIGHT, _TEN = ("yuv420p", "yuv422p", "yuv444p"), ("yuv420p10", "yuv422p10", "yuv444p10")
_USUAL_PRESET = "medium"
_WEBP_CRF = 6  # quality 90
_ALPHA_SUFFIXES = (".webm", ".gif", ".webp", ".png")  # transparent without --codec

TABLE = {
    "h264": Codec(
        "H.264", ("libx264", "h264_videotoolbox", "h264_mf", "libopenh264"), (*_EIGHT, *_TEN),
        ("mp4", "mov", "matroska"), Crf(0, 51, 18),
    ),
    "hevc": Codec(
        "HEVC", ("libx265", "hevc_videotoolbox", "hevc_mf", "libkvazaar"), (*_EIGHT, *_TEN),
        ("mp4", "mov", "matroska"), Crf(0, 51, 22),
    ),
    # AV1 and VP9 cannot be stored in MOV (FFmpeg refuses them)
    "av1": Codec(
        "AV1", ("libsvtav1", "libaom-av1"), (*_EIGHT, *_TEN), ("mp4", "matroska", "webm"), Crf(1, 63, 24)
    ),
    "vp9": Codec(
        "VP9", ("libvpx-vp9",), (*_EIGHT, *_TEN), ("webm", "mp4", "matroska"), Crf(0, 63, 24),
        alpha=("yuv420p",), alpha_containers=("webm", "matroska"),
    ),
    "prores": Codec(
        "ProRes", ("prores_ks",), ("yuv422p10", "yuv444p10"), ("mov", "matroska"), has_presets=False,
        alpha=("yuv444p10",), alpha_containers=("mov", "matroska"),
    ),
    # FFmpeg writes it into MP4, which hardly any player reads
    "ffv1": Codec(
        "FFV1", ("ffv1",), (RGB, *_EIGHT, *_TEN), ("matroska",), has_presets=False,
        alpha=(RGB, *_EIGHT, *_TEN), alpha_containers=("matroska",),
    ),
}  # fmt: skip

# the codecs of each maker's chips
HARDWARE_CODECS = {
    "nvenc": ("h264", "hevc", "av1"), "videotoolbox": ("h264", "hevc", "prores"), "qsv": ("h264", "hevc", "av1", "vp9"),
    "vaapi": ("h264", "hevc", "av1", "vp9"),
}  # fmt: skip

# where an encoder's scale of speed differs from x264's: --preset -> its own options
_SPEEDS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "libsvtav1": {
        preset: {"preset": str(speed)} for preset, speed in zip(PRESETS, (12, 11, 10, 9, 8, 7, 5, 4, 2), strict=True)
    },
    "libaom-av1": {
        preset: {"cpu-used": str(speed)} for preset, speed in zip(PRESETS, (8, 8, 7, 6, 6, 5, 4, 3, 2), strict=True)
    },
    "libvpx-vp9": {
        preset: {"deadline": "realtime" if speed > 5 else "good", "cpu-used": str(speed)}
        for preset, speed in zip(PRESETS, (8, 7, 6, 5, 4, 3, 2, 1, 0), strict=True)
    },
}  # fmt: skip


def complete(options: Options, target: Path) -> Options:
    """`options` with every choice made that the user left open, for a film at `target`. Raises OptionError for what the
    container or the codec cannot do; the message names what fits."""
    if target.suffix.lower() in ANIMATIONS or is_sequence(target):
        return _complete_animation(options, target)
    container = container_of(target)
    name = options.codec or ("vp9" if container == "webm" else "h264")
    codec = TABLE[name]
    if container not in codec.containers:
        raise OptionError(
            f"{printable(target.suffix)} cannot hold {codec.title}: end -o in {_one_of(_suffixes(codec))}, or give "
            f"--codec {_one_of([name for name in TABLE if container in TABLE[name].containers])}"
        )
    _check_hardware(options, name)
    if options.keeps_alpha:
        _check_alpha(options, codec, container)
    usual = codec.alpha[0] if options.keeps_alpha else codec.pixel_formats[0]
    pixel_format = options.pixel_format or usual
    if pixel_format not in codec.pixel_formats:
        others = [name for name in TABLE if pixel_format in TABLE[name].pixel_formats]
        raise OptionError(
            f"{codec.title} has no {pixel_format}: give --pixel-format {_one_of(codec.pixel_formats)}, or --codec "
            f"{_one_of(others)}"
        )
    _check_quality(options, codec)
    crf = options.crf if options.crf is not None or codec.crf is None or options.bitrate else codec.crf.usual
    preset = options.preset or (_USUAL_PRESET if codec.has_presets else None)
    return dataclasses.replace(options, codec=name, crf=crf, preset=preset, pixel_format=pixel_format)


def _complete_animation(options: Options, target: Path) -> Options:
    """Animations and sequences of images are made from a lossless film: animated_output.py. WebP alone has a quality,
    from 0 (lossless)."""
    given = {
        "--codec": options.codec not in (None, "ffv1"), "--bitrate": options.bitrate is not None,
        "--preset": options.preset is not None, "--hardware": options.hardware not in (NONE, AUTO),
        "--pixel-format": options.pixel_format not in (None, RGB),
    }  # fmt: skip
    crf = options.crf
    if options.keeps_alpha and target.suffix.lower() in (".jpg", ".jpeg"):
        raise OptionError("JPEG cannot be transparent (--keep-alpha): end -o in .png")
    if ANIMATIONS.get(target.suffix.lower()) == "webp":
        crf = _WEBP_CRF if crf is None else crf
    else:
        given["--crf"] = crf is not None
    refused = next((flag for flag, is_given in given.items() if is_given), None)
    if refused is not None:
        raise OptionError(
            f"{printable(target.suffix)} has one coding of its own: leave out {refused}, or end -o in "
            f"{_one_of(tuple(CONTAINERS))}"
        )
    return dataclasses.replace(options, codec="ffv1", pixel_format=RGB, crf=crf)


def _check_hardware(options: EncodingOptions, name: str) -> None:
    """Raise OptionError if the hardware that is named has no encoder for the codec."""
    if options.hardware in (NONE, AUTO) or name in HARDWARE_CODECS[options.hardware]:
        return
    others = HARDWARE_CODECS[options.hardware]
    raise OptionError(
        f"--hardware {options.hardware} does not encode {TABLE[name].title}: leave it out, or give --codec "
        f"{_one_of(others)}"
    )


def _check_alpha(options: EncodingOptions, codec: Codec, container: str) -> None:
    """Raise OptionError if --keep-alpha cannot be kept."""
    able = [name for name, other in TABLE.items() if container in other.alpha_containers]
    if container not in codec.alpha_containers:
        leave_out = "leave out --codec and " if options.codec else ""
        end = f"{leave_out}end -o in {_one_of([*_ALPHA_SUFFIXES])}"
        remedy = f"give --codec {_one_of(able)}, or {end}" if able else end
        raise OptionError(f"{codec.title} in this container cannot be transparent (--keep-alpha): {remedy}")
    if options.pixel_format is not None and options.pixel_format not in codec.alpha:
        raise OptionError(
            f"{codec.title} cannot be transparent (--keep-alpha) as {options.pixel_format}: give --pixel-format "
            f"{_one_of(codec.alpha)}"
        )


def speed_options(encoder: str, preset: str) -> Mapping[str, str]:
    """An encoder's own options for the speed that `preset` names."""
    return _SPEEDS[encoder][preset] if encoder in _SPEEDS else {"preset": preset}


def has_own_speeds(encoder: str) -> bool:
    """Whether an encoder has another scale of speed than that of --preset."""
    return encoder in _SPEEDS


def suffix_for(codec: str | None) -> str:
    """The suffix for a film in `codec` whose name nobody gave."""
    return ".mp4" if codec is None else suffixes_of(codec)[0]


def suffixes_of(codec: str | None) -> list[str]:
    """The suffixes of the films that hold `codec`, its usual one first."""
    return _suffixes(TABLE[codec or "h264"])


def _check_quality(options: EncodingOptions, codec: Codec) -> None:
    if options.preset is not None and not codec.has_presets:
        raise OptionError(f"{codec.title} has a single speed: leave out --preset")
    if codec.crf is None:
        given = "--crf" if options.crf is not None else "--bitrate" if options.bitrate is not None else None
        if given is not None:
            others = [name for name, other in TABLE.items() if other.crf is not None]
            quality = "is lossless" if options.codec == "ffv1" else "sets its own quality"
            raise OptionError(f"{codec.title} {quality}: leave out {given}, or give --codec {_one_of(others)}")
    elif options.crf is not None and not codec.crf.least <= options.crf <= codec.crf.most:
        raise OptionError(
            f"--crf of {codec.title} goes from {codec.crf.least} to {codec.crf.most}, and {options.crf} was given: "
            f"{codec.crf.usual} shows hardly any loss"
        )


def _suffixes(codec: Codec) -> list[str]:
    """The suffixes of the containers that hold a codec, in their order."""
    return [suffix for name in codec.containers for suffix, container in CONTAINERS.items() if container == name]


def _one_of(names: list[str] | tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
