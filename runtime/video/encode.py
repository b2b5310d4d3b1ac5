"""Encode frames as H.264, each with its own time and duration."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from starcast.errors import VideoError
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.video import colour

# the first that this FFmpeg has is used; the others are for builds without libx264
ENCODERS = ("libx264", "h264_videotoolbox", "h264_mf", "libopenh264")
_BITS_A_PIXEL = 0.25  # for encoders that have no constant quality


class VideoEncoder:
    """One H.264 stream of `container`: yuv420p, BT.709 limited. Odd sides are padded by a pixel."""

    def __init__(
        self,
        container: OutputContainer,
        height: int,
        width: int,
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
    ) -> None:
        name = choose_encoder()
        self.note = None if name == ENCODERS[0] else f"this FFmpeg lacks libx264: {name} is used and ignores --crf"
        height, width = height + height % 2, width + width % 2
        options = {"crf": str(encoding.crf), "preset": encoding.preset} if name == ENCODERS[0] else {}
        stream: Any = container.add_stream(name, rate=rate.limit_denominator(2**20), options=options)
        self.stream = stream
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        if not options:
            self.stream.bit_rate = max(400_000, int(_BITS_A_PIXEL * height * width * rate))
        # without this, times are rounded to 1 / rate, and frames of a variable rate collide
        self.stream.codec_context.time_base = self.stream.time_base = time_base
        colour.tag(self.stream.codec_context)
        self._time_base = time_base
        self._durations: dict[int, int] = {}
        self._scaler = VideoReformatter()

    def encode(self, pixels: NDArray[np.uint8], pts: int, duration: int) -> list[Packet[Any]]:
        """The packets that are ready after `pixels` (RGB [H, W, 3]); times are ticks of the time base."""
        frame = colour.to_yuv(pixels, self._scaler)
        frame.pts, frame.time_base = pts, self._time_base
        self._durations[pts] = duration
        packets: list[Packet[Any]] = self.stream.encode(frame)
        return self._timed(packets)

    def flush(self) -> list[Packet[Any]]:
        """The packets that the encoder still holds. Nothing can be encoded afterwards."""
        packets: list[Packet[Any]] = self.stream.encode(None)
        return self._timed(packets)

    def _timed(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        """Restore the frames' durations, which encoders drop; without them the last frame has no length."""
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
        return packets


class DroppedFilm:
    """Encodes frames as a film would, and drops what comes out: for measuring how long the work takes."""

    def __init__(self, size: tuple[int, int], rate: Fraction, time_base: Fraction, encoding: EncodingOptions) -> None:
        self._container: OutputContainer = av.open(os.devnull, "w", format="null")
        self._encoder = VideoEncoder(self._container, *size, rate, time_base, encoding)

    def __enter__(self) -> DroppedFilm:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def write(self, pixels: NDArray[np.uint8], pts: int, duration: int) -> None:
        """Encode the next frame."""
        self._encoder.encode(pixels, pts, duration)


def choose_encoder() -> str:
    """The first of ENCODERS that this FFmpeg has. Raises VideoError if there is none."""
    for name in ENCODERS:
        try:
            av.Codec(name, "w")
        except ValueError:  # UnknownCodecError
            continue
        return name
    raise VideoError(
        "this FFmpeg has no H.264 encoder: install PyAV's own wheels with `pip install --force-reinstall av`"
    )
