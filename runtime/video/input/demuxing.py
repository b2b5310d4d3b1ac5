"""Read a file's packets from start to end, on one clock for all streams, and notice where the file ends too early."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from starcast.runtime.video.input.holes import Holes
from starcast.runtime.video.input.one_clock import LONGEST_GAP_S, SLACK_S, OneClock, Stamp
from starcast.runtime.video.timing import as_fraction, ticks

_JUMPING_CLOCK = 0x200  # AVFMT_TS_DISCONT
_REORDERED = 17  # frames by which decoding times may step back where the file has none and FFmpeg works them out
_OVERLAP = 4  # packets of sound by which the parts of a joined recording overlap, because encoders pad the ends
_STATES_DURATION = ("mov", "matroska", "avi", "asf", "mxf", "nut")  # other formats' duration is a guess
_SHORTFALL = Fraction(1, 50)  # share of the stated duration that may be missing before a file counts as truncated
_BOUNDARY_BYTES = 1024  # what follows the last image of a multipart stream is shorter
_NO_SHOWN_TIMES = ("avi",)  # formats that store only the order of decoding; FFmpeg guesses when a frame is shown
_RETRIES = 64  # where FFmpeg finds no packet: 4 MiB of damage
_PACED = 20  # video packets that are read ahead to see how far frames are apart
_PACED_WITHIN = 400  # packets of all streams

if TYPE_CHECKING:  # only the type checker knows a packet's stream type
    AnyPacket = Packet[Any]


class Demuxer:
    """Reads the packets of all streams. `rate`: the frames per second of `video`.

    While it reads, `ends_early` becomes true if the file is truncated, `has_late_streams` if a stream appears that was
    not there when the file was opened, and `earliest_s` is when the first frame or sound begins. `holes` and `breaks`,
    where reading failed for a while, are damage in its middle.
    """

    def __init__(self, container: InputContainer, video: VideoStream, rate: Fraction) -> None:
        self.ends_early = False
        self.has_late_streams = False
        self.breaks = 0
        self.earliest_s: Fraction | None = None
        self.end = 0  # the byte behind the last packet
        self.holes = Holes(container.format.name)
        self._container = container
        self._video = video
        self._rate = rate
        jumps = bool(container.format.flags & _JUMPING_CLOCK)
        self._one_clock: OneClock[AnyPacket] = OneClock(jumps=jumps)
        self._pace_s = Fraction(0)
        self._packets = 0  # of the video
        self._wrong_times = False  # then the duration that FFmpeg states is wrong, too
        self._last: AnyPacket | None = None  # of the video

    def read(self) -> Iterator[AnyPacket]:
        """Every packet, in the file's order. Its times are None where the file's are wrong."""
        for placed in self._one_clock.place(self._paced(self._demux()), self._stamp):
            packet, stamp = placed.item, placed.stamp
            self.holes.cover(packet.pos, packet.size)
            self._wrong_times = self._wrong_times or placed.offset is None or placed.is_shown_wrong
            if placed.offset is None:
                packet.pts = packet.dts = None
            elif stamp is not None:
                self._move(packet, placed.offset)
                if placed.is_shown_wrong:
                    packet.pts = None
                if stamp.leads:
                    self.holes.follow(stamp.stream, stamp.decoded + placed.offset, stamp.lasts)
                    begins_s = stamp.shown + placed.offset
                    self.earliest_s = begins_s if self.earliest_s is None else min(self.earliest_s, begins_s)
            yield packet

    def is_short(self, start_s: Fraction) -> bool:
        """Whether the file is shorter than it states: by more than two frames if it has fewer packets than it states,
        otherwise by more than a second and more than a fiftieth, because durations in headers are rough."""
        if self._last is not None and self._last.is_corrupt:  # incomplete
            return True
        states = self._container.format.name.startswith(_STATES_DURATION)
        if not states or not self._container.duration or self._wrong_times:
            return False
        stated_s = Fraction(self._container.duration, av.time_base)
        is_fragmented = self._container.format.name.startswith("mov") and not self._video.frames
        begins_s = Fraction(0) if is_fragmented else start_s  # of fragments, FFmpeg states where they end
        missing_s = begins_s + stated_s - self._one_clock.end_s
        if 0 < self._packets < self._video.frames:
            return missing_s > 2 / self._rate
        return missing_s > max(Fraction(1), stated_s * _SHORTFALL)

    def _demux(self) -> Iterator[AnyPacket]:
        """Every packet, without the empty ones with which PyAV ends each stream."""
        packets = self._container.demux()
        failures = 0  # since the last packet
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:  # FFmpeg looks for a packet in 64 KiB; what follows may be whole
                failures += not isinstance(error, BlockingIOError)
                if self._is_last_boundary():
                    return
                if failures > _RETRIES:
                    self.ends_early = True
                    return
                packets = self._container.demux()
                continue
            except IndexError:  # of PyAV, at the end, for streams that appeared on the way
                self.has_late_streams = True
                return
            if packet is None:
                self.ends_early = failures > 0
                return
            self.breaks += failures > 0
            failures = 0
            if packet.size or packet.pos is not None or packet.dts is not None:
                self.end = max(self.end, (packet.pos or 0) + packet.size)
                if packet.stream.index == self._video.index:
                    if self._container.format.name in _NO_SHOWN_TIMES:
                        packet.pts = None
                    self._last = packet
                    self._packets += packet.size > 0
                yield packet

    def _paced(self, packets: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
        """The same packets. If frames are not decoded in the order in which they are shown, the first of them are read
        ahead, to learn how far frames are apart: what a file states may be far off (time-lapse)."""
        ahead: list[AnyPacket] = []
        shown: list[int] = []
        for packet in packets:
            ahead.append(packet)
            if packet.stream.index == self._video.index:
                if packet.pts is None or (packet.pts == packet.dts and not self._reorders()):
                    break
                shown.append(packet.pts)
            if len(shown) == _PACED or len(ahead) == _PACED_WITHIN:
                break
        gaps = sorted(later - earlier for earlier, later in pairwise(sorted(shown)))
        if gaps:
            self._pace_s = gaps[len(gaps) // 2] * (as_fraction(self._video.time_base) or Fraction(0))
        yield from ahead
        yield from packets

    def _reorders(self) -> bool:
        return bool(getattr(self._video.codec_context, "has_b_frames", False))

    def _is_last_boundary(self) -> bool:
        """Whether reading failed at the mark that ends a multipart stream, where FFmpeg looks for one more image."""
        last = self._last
        if self._container.format.name != "mpjpeg" or last is None or last.pos is None or last.is_corrupt:
            return False
        return self._container.size - last.pos - last.size < _BOUNDARY_BYTES

    def _stamp(self, packet: AnyPacket) -> Stamp | None:
        tick = as_fraction(packet.time_base)
        decoded = packet.pts if packet.dts is None else packet.dts
        if decoded is None or tick is None or packet.is_discard:  # an edit list leaves it out: its time may be any
            return None
        stream = packet.stream
        is_video = stream.type == "video"
        lasts_s = (packet.duration or 0) * tick or (1 / self._rate if is_video else Fraction(0))
        if is_video:
            lasts_s = max(lasts_s, self._pace_s)
        slack_s = SLACK_S if is_video else max(SLACK_S, _OVERLAP * lasts_s)
        if is_video and self._reorders():
            slack_s = max(SLACK_S, _REORDERED * lasts_s)
        return Stamp(
            stream.index, decoded * tick, (decoded if packet.pts is None else packet.pts) * tick, lasts_s,
            leads=stream.type in ("video", "audio"), slack=slack_s, position=packet.pos,
        )  # fmt: skip

    @staticmethod
    def _move(packet: AnyPacket, offset: Fraction) -> None:
        tick = as_fraction(packet.time_base)
        moved = ticks(offset, tick) if tick is not None else 0
        if packet.pts is not None:
            packet.pts += moved
        if packet.dts is not None:
            packet.dts += moved


def start_of(container: InputContainer, begins_s: Fraction, earliest_s: Fraction | None) -> Fraction:
    """When a file begins, in seconds: at FFmpeg's value, unless that comes from a single wrong time, or at its first
    frame (`begins_s`). `earliest_s`: when its first packets begin, some of which may be skipped."""
    stated: Any = container.start_time  # None if unknown, whatever its type says
    if stated is None:
        return begins_s
    stated_s = Fraction(stated, av.time_base)
    if earliest_s is not None and abs(stated_s - earliest_s) > LONGEST_GAP_S:
        return min(begins_s, earliest_s)
    return min(begins_s, stated_s)
