"""The streams beside the frames: copied packet by packet if the container accepts them, else re-encoded or dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from starcast.runtime.video.timing import Clock, as_fraction, ticks

# FFmpeg writes these into MP4, but most players cannot play them
_SILENT_IN_MP4 = ("pcm_", "vorbis")
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")
_AAC_BITS_A_CHANNEL = 96_000
_MILLISECOND = Fraction(1, 1000)
_EQUAL_TIMES_ALLOWED = 0x20000  # AVFMT_TS_NONSTRICT: Matroska, whose ticks are longer than a TrueHD packet
# metadata about how the old file was written
_OF_THE_OLD_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate")
_STATISTICS = ("_statistics", "bps", "number_of_")


class Track(Protocol):
    """An output stream that is fed from one input stream."""

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        """Packets for the muxer."""

    def flush(self) -> list[Packet[Any]]:
        """The last packets."""


class CopiedTrack:
    """Copies packets. Their times are shifted by `start_s`, and rounded to the ticks that the muxer writes."""

    def __init__(self, container: OutputContainer, template: Stream, start_s: Fraction) -> None:
        self.stream = container.add_stream_from_template(template)
        _carry_over(template, self.stream)
        self._source_tick = as_fraction(template.time_base) or _MILLISECOND
        self._start_s = start_s
        self._strict = not container.format.flags & _EQUAL_TIMES_ALLOWED
        self._clock: Clock | None = None

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        assert isinstance(item, Packet)
        tick = (
            as_fraction(self.stream.time_base) or _MILLISECOND
        )  # the muxer's choice, known once its header is written
        if self._clock is None:
            self._clock = Clock(tick, self._start_s, strict=self._strict)
        time = item.pts if item.dts is None else item.dts
        lasts_s = (item.duration or 0) * self._source_tick
        placed = self._clock.place(None if time is None else time * self._source_tick, lasts_s)
        shown = placed if item.pts is None else ticks(item.pts * self._source_tick - self._start_s, tick)
        item.time_base = tick
        item.dts, item.pts, item.duration = placed, max(placed, shown), ticks(lasts_s, tick)
        item.stream = self.stream
        return [item]

    def flush(self) -> list[Packet[Any]]:
        return []


class EncodedTrack:
    """Encodes sound again, as AAC."""

    def __init__(self, container: OutputContainer, template: Stream, start_s: Fraction) -> None:
        context: Any = template.codec_context
        rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48000
        channels = context.layout.nb_channels
        layout = context.layout.name
        if layout not in _AAC_LAYOUTS:
            layout = "mono" if channels == 1 else "stereo"
        self.stream: Any = container.add_stream("aac", rate=rate)
        self.stream.layout = layout
        self.stream.bit_rate = _AAC_BITS_A_CHANNEL * self.stream.layout.nb_channels
        _carry_over(template, self.stream)
        self._tick = Fraction(1, context.sample_rate)  # finer than the source's, so that no two frames collide
        self._source_tick = as_fraction(template.time_base) or self._tick
        self._clock = Clock(self._tick, start_s)

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        assert isinstance(item, AudioFrame)
        time_s = None if item.pts is None else item.pts * self._source_tick
        item.pts = self._clock.place(time_s, Fraction(item.samples, item.sample_rate))
        item.time_base = self._tick
        packets: list[Packet[Any]] = self.stream.encode(item)
        return packets

    def flush(self) -> list[Packet[Any]]:
        packets: list[Packet[Any]] = self.stream.encode(None)
        return packets


@dataclass
class Tracks:
    """What happens to each stream beside the frames, by its index in the source."""

    by_index: dict[int, Track] = field(default_factory=dict)
    encoded: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @property
    def audio_to_decode(self) -> frozenset[int]:
        """The streams whose sound must be decoded."""
        return frozenset(index for index, track in self.by_index.items() if isinstance(track, EncodedTrack))

    def notes(self) -> list[str]:
        """A sentence for the streams that are encoded again, and one for those that are dropped."""
        sentences = []
        if self.encoded:
            sentences.append(f"{_join(self.encoded)} encoded again as AAC: the output's container or most "
                             "players do not accept it")  # fmt: skip
        if self.dropped:
            sentences.append(f"{_join(self.dropped)} dropped: the output's container cannot hold it")
        return sentences


def tracks_for(
    container: OutputContainer, streams: Iterable[Stream], start_s: Fraction, *, copy: bool = True
) -> Tracks:
    """An output stream for every stream that `container` can hold. Without `copy`, sound is encoded again and the rest
    is dropped: rare files hold packets that the muxer refuses although it supports their codec."""
    tracks = Tracks()
    for stream in streams:
        track = _track(container, stream, start_s, copy=copy)
        if track is not None:
            tracks.by_index[stream.index] = track
            if isinstance(track, EncodedTrack):
                tracks.encoded.append(_described(stream))
        elif not _is_made_by_the_muxer(stream):
            tracks.dropped.append(_described(stream))
    return tracks


def _track(container: OutputContainer, stream: Stream, start_s: Fraction, *, copy: bool) -> Track | None:
    if stream.codec_context is None or stream.type not in ("audio", "subtitle"):
        return None
    silent = container.format.name == "mp4" and stream.codec_context.name.startswith(_SILENT_IN_MP4)
    if copy and not silent:
        with contextlib.suppress(ValueError):  # "format does not support codec"
            return CopiedTrack(container, stream, start_s)
    return EncodedTrack(container, stream, start_s) if stream.type == "audio" else None


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the entries that are true only of the old file."""
    return {
        key: text
        for key, text in metadata.items()
        if key.lower() not in _OF_THE_OLD_FILE and not key.lower().startswith(_STATISTICS)
    }


def _carry_over(template: Stream, stream: Any) -> None:
    stream.metadata.update(kept_metadata(template.metadata))
    with contextlib.suppress(AttributeError):  # read-only in old PyAV
        stream.disposition = template.disposition.value


def _is_made_by_the_muxer(stream: Stream) -> bool:
    """Whether the muxer writes this stream itself: time codes, or the text track that holds an MP4's chapters."""
    chapters = stream.type == "data" and bool(stream.container.chapters())
    return stream.type == "data" and (chapters or stream.metadata.get("timecode") is not None)


def _described(stream: Stream) -> str:
    codec = f"{stream.codec_context.name}, " if stream.codec_context is not None else ""
    kind = {"audio": "sound", "subtitle": "subtitles"}.get(str(stream.type), str(stream.type))
    return f"{kind} ({codec}stream {stream.index})"


def _join(names: list[str]) -> str:
    joined = " and ".join(names)
    return f"{joined} {'is' if len(names) == 1 else 'are'}"
