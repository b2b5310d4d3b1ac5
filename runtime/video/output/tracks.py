"""The streams beside the frames, each decided on its own: copied packet by packet, encoded again, or dropped.

What a container takes is asked of its muxer (`containers.takes`), one stream after the other, so that a stream that it
refuses changes nothing for the others.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from starcast.runtime.encoding import CONTAINERS
from starcast.runtime.video.input.adts import changes_midway
from starcast.runtime.video.output.codecs import suffixes_of
from starcast.runtime.video.output.containers import codec_of, is_silent, others_that_take, takes
from starcast.runtime.video.output.covers import CopiedCover, attach, is_cover, takes_covers
from starcast.runtime.video.output.metadata import Keep, kept_metadata, only_language, stream_metadata
from starcast.runtime.video.output.sound import TITLES, EncodedTrack, sound_codec
from starcast.runtime.video.output.subtitles import SUBTITLE_TITLES, ConvertedSubtitles, encoder_for
from starcast.runtime.video.timing import Clock, as_fraction, ticks

_MILLISECOND = Fraction(1, 1000)
_EQUAL_TIMES_ALLOWED = 0x20000  # AVFMT_TS_NONSTRICT: Matroska, whose ticks are longer than a TrueHD packet
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_GAP_S = Fraction(1, 100)  # times are rounded to a millisecond in many containers: less is no gap
_PREROLL_S = Fraction(1, 10)  # Opus asks for the most: 80 ms (RFC 7845, 4.6)
_SILENT_BYTES = {"pcm_u8": 0x80, "pcm_alaw": 0xD5, "pcm_mulaw": 0xFF}  # 0 in all others
_KINDS = {"audio": "sound", "subtitle": "subtitles"}


class Track(Protocol):
    """An output stream that is fed from one input stream."""

    stream: Any

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        """Packets for the muxer."""

    def flush(self) -> list[Packet[Any]]:
        """The last packets."""


class CopiedTrack:
    """Copies packets. Their times are shifted by `start_s`, and rounded to the ticks that the muxer writes."""

    def __init__(self, container: OutputContainer, template: Stream, start_s: Fraction) -> None:
        self.stream = container.add_stream_from_template(template)
        self._source_tick = as_fraction(template.time_base) or _MILLISECOND
        self._start_s = start_s
        self._has_edit_lists = container.format.name in ("mp4", "mov")
        self._strict = not container.format.flags & _EQUAL_TIMES_ALLOWED
        self._clock: Clock | None = None
        self._has_begun = False
        self._is_trimmed = False
        self._lasts_s: Fraction | None = None

    def trim(self, lasts_s: Fraction | None) -> None:
        self._is_trimmed, self._lasts_s = True, lasts_s

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        assert isinstance(item, Packet)
        if item.is_discard and self._is_cut_out(item):
            return []
        if self._is_trimmed and self._is_outside(item):
            return []
        self._has_begun = self._has_begun or not item.is_discard
        # the muxer's choice, known once its header is written
        tick = as_fraction(self.stream.time_base) or _MILLISECOND
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

    def _is_outside(self, item: Packet[Any]) -> bool:
        """Whether a packet is outside a trimmed film. Edit lists hide what is only needed to decode the first sound;
        elsewhere the first packet that begins in the film is the first. The last one is made to end with the film."""
        if item.pts is None:
            return False
        begins_s = item.pts * self._source_tick - self._start_s
        if begins_s < (-_PREROLL_S if self._has_edit_lists else 0):
            return True
        if self._lasts_s is not None and item.duration:
            left_s = self._lasts_s - begins_s
            item.duration = max(1, min(item.duration, ticks(left_s, self._source_tick)))
            return left_s <= 0
        return False

    def _is_cut_out(self, item: Packet[Any]) -> bool:
        """Whether a packet that an edit list leaves out is not even needed to decode the first that it shows. Without
        edit lists in the output, it would be heard."""
        needed_s = _PREROLL_S if self._has_edit_lists else (item.duration or 0) * self._source_tick
        return self._has_begun or item.pts is None or item.pts * self._source_tick < self._start_s - needed_s


class CopiedSamples(CopiedTrack):
    """Copies PCM into MOV, which counts samples and stores no times: gaps are filled with silence."""

    def __init__(self, container: OutputContainer, template: Stream, start_s: Fraction) -> None:
        super().__init__(container, template, start_s)
        context: Any = template.codec_context
        bits = re.search(r"\d+", context.name)
        self._sample_bytes = (int(bits[0]) if bits else 8) // 8 * context.layout.nb_channels
        self._rate = context.sample_rate
        self._silence = bytes([_SILENT_BYTES.get(context.name, 0)])
        self._next: int | None = None  # the sample that is written next

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        packets = super().write(item)
        if not packets:
            return []
        (packet,) = packets
        base = as_fraction(packet.time_base) or Fraction(1, self._rate)
        place = round((packet.pts or 0) * base * self._rate)
        missing = 0 if self._next is None else place - self._next
        if missing > _GAP_S * self._rate:
            begin = round(Fraction(self._next or 0, self._rate) / base)
            packets = [*self._silent_packets(missing, begin, packet), packet]
        else:
            missing = 0
        self._next = (place if self._next is None else self._next + missing) + packet.size // self._sample_bytes
        return packets

    def _silent_packets(self, samples: int, begin: int, like: Packet[Any]) -> list[Packet[Any]]:
        """Packets of a second at most; the muxer only counts their bytes."""
        packets = []
        for start in range(0, samples, self._rate):
            count = min(self._rate, samples - start)
            silent: Packet[Any] = Packet(self._silence * (count * self._sample_bytes))
            silent.time_base, silent.stream, silent.is_keyframe = like.time_base, self.stream, True
            silent.pts = silent.dts = begin
            packets.append(silent)
        return packets


@dataclass
class Tracks:
    """What happens to each stream beside the frames, by its index in the source, and what a user should know of it."""

    by_index: dict[int, Track] = field(default_factory=dict)
    changes: dict[str, list[str]] = field(default_factory=dict)  # what happens and why -> the streams that it affects
    names: dict[int, str] = field(default_factory=dict)

    @property
    def audio_to_decode(self) -> frozenset[int]:
        """The streams whose sound must be decoded."""
        return frozenset(index for index, track in self.by_index.items() if isinstance(track, EncodedTrack))

    def trim(self, lasts_s: Fraction | None) -> None:
        """Leave out what is before 0 or, if given, from `lasts_s` seconds on."""
        for track in self.by_index.values():
            if isinstance(track, CopiedTrack | EncodedTrack):  # subtitles come trimmed
                track.trim(lasts_s)

    def places(self) -> list[tuple[int, int]]:
        """The index of each track in the source, and in the film."""
        return [(index, track.stream.index) for index, track in self.by_index.items()]

    def notes(self) -> list[str]:
        """A sentence for every change, with the streams that it affects."""
        return [f"{_join(streams)} {change}" for change, streams in self.changes.items()]

    def final_notes(self) -> list[str]:
        """Sentences about what showed only while sound and subtitles were encoded."""
        return [
            f"{self.names[index]} {clause}"
            for index, track in self.by_index.items()
            if isinstance(track, EncodedTrack | ConvertedSubtitles)
            for clause in track.notes()
        ]


def tracks_for(
    container: OutputContainer,
    streams: Iterable[Stream],
    start_s: Fraction,
    suffix: str,
    keep: Keep = kept_metadata,
    codec: str = "h264",
) -> Tracks:
    """An output stream for every stream that `container`, the file format of `suffix`, can hold, with what `keep` keeps
    of its metadata. `codec` is that of the frames."""
    tracks, accepted, others = Tracks(), list[Stream](), suffixes_of(codec)
    sound = sound_codec(container.format.name, codec)
    for stream in streams:
        name = tracks.names[stream.index] = _described(stream)
        if _is_made_by_the_muxer(stream):
            continue
        if is_cover(stream):
            change = _keep_cover(container, suffix, stream, tracks, others, has_metadata=keep is not only_language)
            if change is not None:
                tracks.changes.setdefault(change, []).append(name)
            continue
        change = _reason_to_drop(stream)
        if change is None:
            refusal = _refusal(suffix, stream, accepted, others)
            if refusal is None:
                accepted.append(stream)
                _copy(container, stream, start_s, tracks, keep)
                continue
            change = f"dropped: {refusal}"
            if stream.type == "audio":
                track = EncodedTrack(container, stream, start_s, sound)
                _carry_over(stream, track.stream, container, keep)
                tracks.by_index[stream.index] = track
                change = "; ".join(filter(None, (f"encoded again as {TITLES[sound]}: {refusal}", track.storage.note)))
            elif (encoder := encoder_for(container.format.name, stream)) is not None:
                subtitles = ConvertedSubtitles(container, stream, start_s, encoder)
                _carry_over(stream, subtitles.stream, container, keep)
                tracks.by_index[stream.index] = subtitles
                change = f"converted to {SUBTITLE_TITLES[encoder]}: {refusal}"
        tracks.changes.setdefault(change, []).append(name)
    return tracks


def _copy(container: OutputContainer, stream: Stream, start_s: Fraction, tracks: Tracks, keep: Keep) -> None:
    if stream.type == "attachment":  # a part of the header: no packets follow
        container.add_stream_from_template(stream)
        return
    counts_samples = container.format.name == "mov" and stream.codec_context.name.startswith("pcm_")
    copied = CopiedSamples if counts_samples else CopiedTrack
    track = tracks.by_index[stream.index] = copied(container, stream, start_s)
    _carry_over(stream, track.stream, container, keep)


def _keep_cover(
    container: OutputContainer,
    suffix: str,
    stream: Stream,
    tracks: Tracks,
    others: Sequence[str],
    *,
    has_metadata: bool,
) -> str | None:
    """Keep a cover, which is metadata; return why that cannot be."""
    if not has_metadata:
        return "dropped: covers are metadata"
    name = container.format.name
    if not takes_covers(name, stream):
        elsewhere = [other for other in others if CONTAINERS[other] != name and takes_covers(CONTAINERS[other], stream)]
        return f"dropped: {suffix} does not take it as a cover" + (
            f" ({' or '.join(elsewhere)} does)" if elsewhere else ""
        )
    if name == "mp4":
        tracks.by_index[stream.index] = CopiedCover(container, stream)
    elif not attach(container, stream):
        return "dropped: it cannot be read"
    return None


def _reason_to_drop(stream: Stream) -> str | None:
    """Why a stream is not carried over, whatever the container holds; None if it may be."""
    if stream.type == "video":
        if stream.disposition & _PICTURES:
            return "dropped: thumbnails show the video as it was before"
        return "dropped: only one video stream is translated"
    if stream.type not in ("audio", "subtitle", "attachment"):
        return "dropped: only sound, subtitles, chapters and fonts are kept"
    if isinstance(stream, AudioStream) and not (stream.sample_rate and stream.channels):
        return "dropped: no sound of it was found"
    if stream.type != "attachment" and not codec_of(stream):
        return "dropped: this FFmpeg does not know its codec"
    return None


def _refusal(suffix: str, stream: Stream, accepted: Sequence[Stream], among: Sequence[str]) -> str | None:
    """Why a stream cannot be copied beside those that are, and what would keep it; None if it can."""
    if is_silent(CONTAINERS[suffix], stream):
        reason = f"most players do not play {codec_of(stream)} in {suffix}"
    elif not takes(CONTAINERS[suffix], [*accepted, stream]):
        reason = f"{suffix} does not take {codec_of(stream) or 'attachments'}"
    elif changes_midway(stream):
        return f"its channels or its rate change midway, which {suffix} cannot store"
    else:
        return None
    others = others_that_take(suffix, stream, among)
    return reason + (f" ({' or '.join(others)} does)" if others else "")


def _carry_over(template: Stream, stream: Any, container: OutputContainer, keep: Keep) -> None:
    stream.metadata.update(stream_metadata(template.metadata, container.format.name, keep))
    with contextlib.suppress(AttributeError):  # read-only in old PyAV
        stream.disposition = template.disposition.value


def _is_made_by_the_muxer(stream: Stream) -> bool:
    """Whether the muxer writes this stream itself: time codes, or the text track that holds an MP4's chapters."""
    chapters = stream.type == "data" and bool(stream.container.chapters())
    return stream.type == "data" and (chapters or stream.metadata.get("timecode") is not None)


def _described(stream: Stream) -> str:
    kind = _KINDS.get(stream.type, stream.type)
    if stream.type == "video" and stream.disposition & _PICTURES:
        kind = "cover" if is_cover(stream) else "thumbnail"
    name = codec_of(stream) or stream.metadata.get("filename")
    return f"{kind} ({f'{name}, ' if name else ''}stream {stream.index})"


def _join(names: list[str]) -> str:
    joined = " and ".join(names)
    return f"{joined} {'is' if len(names) == 1 and not joined.startswith('subtitles') else 'are'}"
