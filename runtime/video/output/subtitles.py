"""Text subtitles that a container refuses as they are: decoded, and encoded in the format that it takes.

Every decoder of text gives lines of ASS, and every encoder takes them. What the new format lacks, such as positions
and most styles, is lost; the words and their times are not.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.subtitle import SubtitleSet

from starcast.runtime.video.output.containers import codec_of
from starcast.runtime.video.timing import as_fraction

# FFmpeg's name of a container -> the encoder of what most players show in it
_ENCODERS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
SUBTITLE_TITLES = {"mov_text": "MP4's timed text", "subrip": "SubRip", "webvtt": "WebVTT"}
_BITMAPS = ("dvb_subtitle", "dvbsub", "dvd_subtitle", "dvdsub", "hdmv_pgs_subtitle", "pgssub", "xsub")
_MILLISECOND = Fraction(1, 1000)
_FIELDS_BEFORE_TEXT = 8  # of a line of ASS as FFmpeg's decoders give it: ReadOrder, Layer, Style, … Effect
_LONGEST = 2**31 - 1


def encoder_for(container: str, stream: Stream) -> str | None:
    """The encoder that makes text of `stream` fit into `container`; None for bitmaps, and if there is none."""
    name = _ENCODERS.get(container)
    if name is None or stream.type != "subtitle" or codec_of(stream) in _BITMAPS:
        return None
    context: Any = stream.codec_context
    if not hasattr(context, "encode_subtitle"):  # an old PyAV
        return None
    try:
        av.Codec(name, "w")
        context.open(strict=False)
    except (av.FFmpegError, ValueError):
        return None
    return name if context.subtitle_header else None


class ConvertedSubtitles:
    """Subtitles of `container`, by `encoder`, from the text of `template`'s stream; `start_s` becomes 0."""

    def __init__(self, container: OutputContainer, template: Stream, start_s: Fraction, encoder: str) -> None:
        decoder: Any = template.codec_context
        stream: Any = container.add_stream(encoder)
        self._decoder, self.stream = decoder, stream
        self._tick = as_fraction(template.time_base) or _MILLISECOND
        self._start_s = start_s
        stream.codec_context.subtitle_header = decoder.subtitle_header
        stream.codec_context.time_base = stream.time_base = _MILLISECOND
        self._count = 0
        self._damaged = 0

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        """The packet for the muxer; none if nothing of it is shown in the film."""
        assert isinstance(item, Packet)
        if item.pts is None or not item.size:
            return []
        try:
            decoded = self._decoder.decode2(item)
        except av.FFmpegError:
            self._damaged += 1
            return []
        lines = [] if decoded is None else [line for rect in decoded if (line := getattr(rect, "ass", b""))]
        begin = round((item.pts * self._tick - self._start_s) / _MILLISECOND)
        lasts = round((item.duration or 0) * self._tick / _MILLISECOND)
        if not lasts and decoded is not None and decoded.end_display_time < _LONGEST:
            lasts = decoded.end_display_time
        end = begin + lasts
        begin = max(0, begin)
        if not lines or end <= begin:
            return []
        self._count += 1
        packet: Packet[Any] = self.stream.codec_context.encode_subtitle(
            SubtitleSet.create(_joined(lines, self._count), 0, end - begin, begin)
        )
        packet.time_base, packet.stream, packet.is_keyframe = _MILLISECOND, self.stream, True
        packet.pts = packet.dts = begin
        packet.duration = end - begin
        return [packet]

    def flush(self) -> list[Packet[Any]]:
        return []

    def notes(self) -> list[str]:
        """What became known only during conversion, as clauses about the track."""
        return [f"has {self._damaged} damaged lines, which are left out"] if self._damaged else []


def _joined(lines: list[bytes], number: int) -> bytes:
    """One line of ASS for all that are shown at once; `number` is its place in the order of reading."""
    first = lines[0].split(b",", _FIELDS_BEFORE_TEXT)
    texts = [line.split(b",", _FIELDS_BEFORE_TEXT)[-1].rstrip(b"\r\n") for line in lines]
    return b",".join([str(number).encode(), *first[1:_FIELDS_BEFORE_TEXT], rb"\N".join(texts)])
