"""Encode frames in the codec that was asked for, each with its own time and duration."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from starcast.errors import OptionError, VideoError, reason_of
from starcast.runtime.encoding import NONE, RGB, EncodingOptions
from starcast.runtime.stages import submit
from starcast.runtime.video import colour
from starcast.runtime.video.output.codecs import TABLE, complete, has_own_speeds, speed_options
from starcast.runtime.video.output.hardware import candidates, is_hardware, open_options, settings_for, why_not
from starcast.runtime.yielding import with_yielding_threads, yield_to_model

Options = TypeVar("Options", bound=EncodingOptions)

_QUALITIES = {"crf", "cq", "global_quality"}  # the encoders' own names of it
_BITS_A_PIXEL = 0.25  # for encoders that have no constant quality
# FFmpeg's names for a pixel format, in order of choice: encoders of a system's own take others
_FORMATS = {
    "yuv420p": ("yuv420p", "nv12"), "yuv422p": ("yuv422p", "nv16"), "yuv444p": ("yuv444p",),
    "yuv420p10": ("yuv420p10le", "p010le"), "yuv422p10": ("yuv422p10le", "p210le"), "yuv444p10": ("yuv444p10le",),
    RGB: ("bgr0", "gbrp"),
}  # fmt: skip
_TRANSPARENT = {
    "yuv420p": ("yuva420p",), "yuv422p": ("yuva422p",), "yuv444p": ("yuva444p",), "yuv420p10": ("yuva420p10le",),
    "yuv422p10": ("yuva422p10le",), "yuv444p10": ("yuva444p10le",), RGB: ("bgra", "gbrap"),
}  # fmt: skip
# with cutree, x265 4.2 writes beyond its memory or hangs for some narrower frames: 16, 40 and 48 pixels, not 24, 32, 56
_NARROW = 64
_WITH_CRF = ("libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9")
# PyAV's own choice is slices, with which x264 takes a quarter longer and makes files 2.5 % larger (848x464, two cores)
_THREADS_BY_FRAME = ("libx264",)
_PRORES_PROFILES = {"yuv422p10": "hq", "yuv444p10": "4444"}
_QUICKTIME_TAGS = {"hevc": "hvc1"}  # Apple's players show nothing of FFmpeg's own choice, hev1


class Encoder(NamedTuple):
    """FFmpeg's names of an encoder and of the pixel format that it gets."""

    name: str
    pixel_format: str
    why: str = ""  # what a user should know of the choice


class VideoEncoder:
    """One stream of `container`, BT.709. `encoding` is complete (`codecs.complete`). Sides that the chroma does not
    divide are padded. Raises VideoError if the encoder refuses frames of this size.

    A frame's colours are converted in a thread, while the frame before it is encoded.
    """

    def __init__(
        self,
        container: OutputContainer,
        height: int,
        width: int,
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
    ) -> None:
        encoder = choose_encoder(encoding)
        rows, columns = colour.padding(height, width, encoder.pixel_format)
        self._pixel_format, self._keeps_alpha = encoder.pixel_format, encoding.keeps_alpha
        # without a log level these two write lines of their own into the terminal
        os.environ.setdefault("SVT_LOG", "1")
        settings = _settings(encoder.name, encoding, width + columns)
        stream: Any = container.add_stream(
            encoder.name, rate=rate.limit_denominator(2**20), options=dict(settings), **open_options(encoder.name)
        )
        self.stream = stream
        if encoder.name in _THREADS_BY_FRAME:
            stream.thread_type = "FRAME"
        stream.height, stream.width, stream.pix_fmt = height + rows, width + columns, encoder.pixel_format
        if encoding.bits_per_second is not None:
            stream.bit_rate = encoding.bits_per_second
        elif _QUALITIES & settings.keys():
            stream.bit_rate = 0
        elif TABLE[encoding.codec or ""].crf is not None:
            stream.bit_rate = max(400_000, int(_BITS_A_PIXEL * height * width * rate))
        # without this, times are rounded to 1 / rate, and frames of a variable rate collide
        stream.codec_context.time_base = stream.time_base = time_base
        colour.tag(stream.codec_context, is_rgb=VideoFormat(encoder.pixel_format).is_rgb)
        tag_for_players(container, stream, encoding)
        self.note = _note(encoder, encoding, settings)
        self._time_base = time_base
        self._durations: dict[int, int] = {}
        self._is_silent = True  # no packet came yet
        self._scaler = VideoReformatter()
        self._converter = ThreadPoolExecutor(1, "colours", yield_to_model)  # its thread ends with this object
        self._converting: Future[VideoFrame] | None = None
        try:
            with_yielding_threads(stream.codec_context.open)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{encoder.name} cannot encode frames of {stream.width}x{stream.height} pixels as "
                f"{encoding.pixel_format} ({reason_of(error)}): choose another --codec or --pixel-format"
            ) from error

    def encode(
        self, pixels: NDArray[np.uint8], pts: int, duration: int, alpha: NDArray[np.uint8] | None = None
    ) -> list[Packet[Any]]:
        """Add `pixels` (RGB [H, W, 3]), which must not change any more, and return the packets of earlier frames that
        are ready. Times are ticks of the time base. `alpha` [H, W] is how opaque the frame is, if the encoding keeps
        that; None: all of it."""
        before, self._converting = self._converting, submit(self._converter, self._convert, pixels, pts, alpha)
        self._durations[pts] = duration
        return self._encode(before)

    def _convert(self, pixels: NDArray[np.uint8], pts: int, alpha: NDArray[np.uint8] | None) -> VideoFrame:
        if self._keeps_alpha:
            pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8) if alpha is None else alpha])
        frame = colour.to_coded(pixels, self._scaler, self._pixel_format)
        frame.pts, frame.time_base = pts, self._time_base
        return frame

    def _encode(self, converted: Future[VideoFrame] | None) -> list[Packet[Any]]:
        if converted is None:
            return []
        packets: list[Packet[Any]] = self.stream.encode(converted.result())
        return self._timed(packets)

    def flush(self) -> list[Packet[Any]]:
        """The packets that the encoder still holds. Nothing can be encoded afterwards."""
        last, self._converting = self._encode(self._converting), None
        self._converter.shutdown()
        packets: list[Packet[Any]] = self.stream.encode(None)
        if self._is_silent and self.stream.codec_context.name == "libx265":
            _order(packets)
        return [*last, *self._timed(packets)]

    def _timed(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        """Restore the frames' durations, which encoders drop; without them the last frame has no length."""
        self._is_silent = self._is_silent and not packets
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
        return packets


class DroppedFilm:
    """Encodes frames as a film would, and drops what comes out: for measuring how long the work takes."""

    def __init__(self, size: tuple[int, int], rate: Fraction, time_base: Fraction, encoding: EncodingOptions) -> None:
        encoding = complete(encoding, Path("film.mkv"))  # which holds every codec
        self._container: OutputContainer = av.open(os.devnull, "w", format="null")
        self._encoder = VideoEncoder(self._container, *size, rate, time_base, encoding)

    def __enter__(self) -> DroppedFilm:
        return self

    def __exit__(self, *error: object) -> None:
        if self._encoder.stream.codec_context.name == "libsvtav1":  # else it complains in the terminal
            with contextlib.suppress(av.FFmpegError):
                self._encoder.flush()
        self._container.close()

    def write(self, pixels: NDArray[np.uint8], pts: int, duration: int) -> None:
        """Encode the next frame."""
        self._encoder.encode(pixels, pts, duration)


def settle(options: Options, target: Path) -> Options:
    """`options` with every choice made that the user left open, for a film at `target`, which this FFmpeg can write.
    Raises OptionError, and VideoError if an encoder is missing."""
    settled = complete(options, target)
    choose_encoder(settled)
    return settled


def choose_encoder(encoding: EncodingOptions) -> Encoder:
    """The encoder for a film: the hardware's, if that is asked for and works, otherwise the first of the codec's that
    this FFmpeg has and that takes the pixel format. Raises VideoError without any encoder, OptionError if none takes
    it."""
    if encoding.hardware == NONE:
        return _in_software(encoding)
    reasons = []
    for maker, name in candidates(encoding):
        formats = _formats_of(name)
        if formats is None:
            reasons.append(f"{maker}: this FFmpeg lacks {name}")
            continue
        names = () if encoding.keeps_alpha else _FORMATS[encoding.pixel_format or ""]
        pixel_format = next((one for one in names if not formats or one in formats), None)
        if pixel_format is None:
            what = "transparent frames" if encoding.keeps_alpha else encoding.pixel_format
            reasons.append(f"{maker}: {name} does not take {what}")
            continue
        reason = why_not(name, pixel_format, tuple(settings_for(name, encoding).items()))
        if reason is None:
            return Encoder(name, pixel_format, f"{name} encodes the frames (--hardware {encoding.hardware})")
        reasons.append(f"{maker}: {reason}")
    software = _in_software(encoding)
    because = "; ".join(reasons) or f"no chip encodes {TABLE[encoding.codec or ''].title}"
    return software._replace(why=f"--hardware {encoding.hardware} does not work here ({because}): {software.name} "
                                 "encodes the frames on the CPU")  # fmt: skip


def _in_software(encoding: EncodingOptions) -> Encoder:
    codec, wanted = TABLE[encoding.codec or ""], encoding.pixel_format or ""
    names = _TRANSPARENT if encoding.keeps_alpha else _FORMATS
    there = {name: formats for name in codec.encoders if (formats := _formats_of(name)) is not None}
    for name, formats in there.items():
        for pixel_format in names[wanted]:
            if not formats or pixel_format in formats:
                return Encoder(name, pixel_format)
    if not there:
        raise VideoError(
            f"this FFmpeg has no {codec.title} encoder: install PyAV's own wheels with "
            "`pip install --force-reinstall av`, or choose another --codec"
        )
    taken = [ours for ours in codec.pixel_formats if any({*names[ours]} & formats for formats in there.values())]
    raise OptionError(
        f"this FFmpeg encodes {codec.title} with {' and '.join(there)}, which cannot store {wanted}: give "
        f"--pixel-format {' or '.join(taken)}, or another --codec"
    )


def tag_for_players(container: OutputContainer, stream: Any, encoding: EncodingOptions) -> None:
    """Give a stream of `container` the tag by which players know the codec, where FFmpeg's own choice is another."""
    if container.format.name in ("mp4", "mov") and encoding.codec in _QUICKTIME_TAGS:
        stream.codec_context.codec_tag = _QUICKTIME_TAGS[encoding.codec]


def _formats_of(name: str) -> frozenset[str] | None:
    """The pixel formats of an encoder; empty if it does not say, None if this FFmpeg lacks it."""
    try:
        codec = av.Codec(name, "w")
    except ValueError:  # UnknownCodecError
        return None
    return frozenset(one.name for one in codec.video_formats or ())


def _order(packets: Sequence[Packet[Any]]) -> None:
    """Give all packets of a film times of decoding. x265's own are memory that nobody wrote if the film has fewer
    frames than the encoder looks ahead."""
    shown = [packet.pts or 0 for packet in packets]
    delay = max((sum(before > pts for before in shown[:place]) for place, pts in enumerate(shown)), default=0)
    ordered = sorted(shown)
    early = [ordered[0] - step for step in range(delay, 0, -1)] if ordered else []
    for packet, time in zip(packets, [*early, *ordered], strict=False):
        packet.dts = time


def _settings(encoder: str, encoding: EncodingOptions, width: int) -> Mapping[str, str]:
    """An encoder's own options for frames of this width."""
    settings: dict[str, str] = {}
    if is_hardware(encoder) and encoding.hardware != NONE:
        return settings_for(encoder, encoding)
    if encoder in _WITH_CRF:
        settings |= speed_options(encoder, encoding.preset or "")
        if encoding.bits_per_second is None:
            settings["crf"] = str(encoding.crf)
    if encoder == "libx265":
        settings["x265-params"] = "log-level=error" + ("" if width >= _NARROW else ":cutree=0")
    elif encoder == "libvpx-vp9":
        settings["row-mt"] = "1"
        if encoding.keeps_alpha:
            settings["auto-alt-ref"] = "0"  # libvpx cannot encode transparency with them
    elif encoder == "prores_ks":
        settings |= {"profile": _PRORES_PROFILES[encoding.pixel_format or ""], "vendor": "apl0"}
    elif encoder == "ffv1":
        settings |= {"level": "3", "slicecrc": "1", "g": "1"}
    return settings


def _note(encoder: Encoder, encoding: EncodingOptions, settings: Mapping[str, str]) -> str | None:
    """What a user should know of the encoder; None where it does what the options say on the scale that they name."""
    if encoder.why:
        return encoder.why
    if has_own_speeds(encoder.name):
        speed = ", ".join(f"{name} {settings[name]}" for name in ("deadline", "preset", "cpu-used") if name in settings)
        return f"{encoder.name} has its own scale of speed: --preset {encoding.preset} is its {speed}"
    best = TABLE[encoding.codec or ""].encoders[0]
    if encoder.name == best or encoder.name in _WITH_CRF:
        return None
    ignored = "--preset" if encoding.bits_per_second is not None else "--crf and --preset"
    return f"this FFmpeg lacks {best}: {encoder.name} is used and ignores {ignored}"
