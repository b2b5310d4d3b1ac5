"""Decode a video stream's packets to frames in the order in which they are shown, and lose none to damage near the end.

Two things that FFmpeg's command line does and its decoders leave to the caller:

- A packet of 0 bytes repeats the frame before it (Theora, and the skipped frames of other codecs). Decoders refuse it.
- Decoders with several threads report damage late. At the end of the stream PyAV then drops the frames that are still
  inside. They are decoded again, from the last key frames on, in one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame

_THEORA_HEADER = 0x80
_DROP_SILENTLY = ("hevc", "vvc")  # decoders that give neither a frame nor an error where the frames before are damaged
_LEADING = 16  # frames in front of the first that can be decoded, at most, which need earlier ones
_KEPT_PACKETS = 32  # more than decoders have threads
_KEPT_BYTES = 64 * 2**20  # without key frames, a whole film would be kept


@dataclass(frozen=True)
class Shown:
    """A frame, and when and how long it is shown, in ticks of the stream's time base; None and 0 if unknown."""

    frame: VideoFrame
    pts: int | None
    duration: int


class FrameDecoder:
    """Decodes one stream by `decoder`, a stream or codec context. `reopen` makes another one, with one thread, for
    frames that would be lost because of damage elsewhere."""

    def __init__(self, decoder: Any, reopen: Callable[[], Any]) -> None:
        self.damaged = 0  # packets that could not be decoded
        self._decoder = decoder
        self._reopen = reopen
        self._times = _BestTimes()
        self._missing = 0  # packets that have not become frames
        self._has_key = False
        self._last: Shown | None = None
        self._repeats: list[Packet[Any]] = []
        self._kept: list[list[Packet[Any]]] = [[]]  # the last packets, from key frame to key frame
        self._kept_bytes = 0

    def restart(self) -> None:
        """Forget every packet so far: the next is a key frame somewhere else in the file."""
        getattr(self._decoder, "codec_context", self._decoder).flush_buffers()
        self._times = _BestTimes()
        self._missing, self._has_key, self._last = 0, False, None
        self._repeats.clear()
        self._kept, self._kept_bytes = [[]], 0

    def decode(self, packet: Packet[Any]) -> list[Shown]:
        """The frames that are complete after `packet`."""
        if not packet.size:
            self._repeats.append(packet)
            return []
        if self._decoder.name == "theora" and memoryview(packet)[0] & _THEORA_HEADER:  # where Ogg files were joined
            return []
        self._keep(packet)
        self._has_key = self._has_key or packet.is_keyframe
        self._missing += self._has_key and not packet.is_discard
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError:
            self.damaged += 1
            return []
        return self._in_order(frames)

    def drain(self) -> list[Shown]:
        """The frames that the decoder still holds. Nothing can be decoded afterwards."""
        try:
            frames = self._decoder.decode(None)
        except av.FFmpegError:
            frames = []
        shown = self._in_order(frames)
        if self._missing > 0:
            shown += self._in_order(self._decode_again())
        if self._decoder.name in _DROP_SILENTLY and self._missing > _LEADING:
            self.damaged = max(self.damaged, self._missing)
        return shown + [self._repeat(packet) for packet in self._repeats if self._last is not None]

    def _in_order(self, frames: list[VideoFrame]) -> list[Shown]:
        """The frames, with those between them that repeat one."""
        shown = []
        for frame in frames:
            self._missing -= 1
            pts = self._times.choose(frame.pts, frame.dts)
            while self._repeats and self._last is not None and _is_before(self._repeats[0], pts):
                shown.append(self._repeat(self._repeats.pop(0)))
            self._last = Shown(frame, pts, int(getattr(frame, "duration", 0) or 0))
            shown.append(self._last)
        return shown

    def _repeat(self, packet: Packet[Any]) -> Shown:
        assert self._last is not None
        return Shown(self._last.frame, packet.dts if packet.pts is None else packet.pts, packet.duration or 0)

    def _keep(self, packet: Packet[Any]) -> None:
        if packet.is_keyframe:
            self._kept.append([])
            while len(self._kept) > 1 and sum(map(len, self._kept[1:])) >= _KEPT_PACKETS:
                self._kept_bytes -= sum(old.size for old in self._kept.pop(0))
        self._kept[-1].append(packet)
        self._kept_bytes += packet.size
        if self._kept_bytes > _KEPT_BYTES:
            self._kept, self._kept_bytes = [[]], 0

    def _decode_again(self) -> list[VideoFrame]:
        """The frames of the last packets that have not been shown yet."""
        last = None if self._last is None else _time_of(self._last.frame)
        if last is None:
            return []
        decoder = self._reopen()
        frames, damaged = [], 0
        for packet in [*(packet for kept in self._kept for packet in kept), None]:
            try:
                frames += decoder.decode(packet)
            except av.FFmpegError:
                damaged += 1
        self.damaged = max(self.damaged, damaged)  # most were counted the first time
        return [frame for frame in frames if (time := _time_of(frame)) is not None and time > last]


class _BestTimes:
    """Chooses between a frame's presentation time and the decoding time of the packet that completed it.

    Files without reliable presentation times exist (H.264 in AVI). The clock that has gone back less often is believed.
    Where several frames lack a presentation time, the decoding time stands in, later by as much as before. A single one
    follows the frame before it.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._back = {"pts": 0, "dts": 0}
        self._lag = 0
        self._had_pts = False

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        for name, time in (("pts", pts), ("dts", dts)):
            if time is not None:
                self._back[name] += time <= self._last.get(name, time - 1)
                self._last[name] = time
        had_pts, self._had_pts = self._had_pts, pts is not None
        if pts is None:
            return None if dts is None or had_pts else dts + self._lag
        if dts is None or self._back["pts"] <= self._back["dts"]:
            self._lag = 0 if dts is None else pts - dts
            return pts
        self._lag = 0
        return dts


def _time_of(frame: VideoFrame) -> int | None:
    return frame.dts if frame.pts is None else frame.pts


def _is_before(packet: Packet[Any], pts: int | None) -> bool:
    begins = packet.dts if packet.pts is None else packet.pts
    return begins is None or pts is None or begins < pts
