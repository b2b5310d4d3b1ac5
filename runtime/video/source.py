"""A video file, read once from start to end: frames decoded one by one, sound and subtitles as packets."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from starcast.errors import VideoError, printable
from starcast.runtime.options import MAX_FRAME_PIXELS
from starcast.runtime.video.alpha import alpha_note, decoder_of
from starcast.runtime.video.opening import open_video
from starcast.runtime.video.orientation import Matrix, display_matrix, shown_size
from starcast.runtime.video.tags import check_readable, conversion_note, refuse_hdr, stated_by
from starcast.runtime.video.timing import Clock, as_fraction, ticks

_NOT_MOVING = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_FALLBACK_RATE = Fraction(25)
_FASTEST = 1000  # frames per second; a higher rate is a time base mistaken for a rate
_ENCRYPTED = ("encv", "drmi")
_STATES_DURATION = ("mov", "matroska", "avi", "asf", "mxf", "nut")  # other formats' duration is a guess
_SHORTFALL = Fraction(1, 50)  # share of the stated duration that may be missing before a file counts as truncated


@dataclass(frozen=True)
class Frame:
    """A decoded frame and when it is shown, in ticks of the source's time base."""

    frame: VideoFrame
    pts: int
    duration: int


@dataclass(frozen=True)
class Sound:
    """Decoded sound, and the index of its stream."""

    frame: AudioFrame
    stream: int


if TYPE_CHECKING:  # only the type checker knows a packet's stream type
    Item = Frame | Sound | Packet[Any]


class Source:
    """An open video. Use it in `with`; `read` it once. Raises VideoError or OptionError, which name the file.

    Opening decodes the first frame, so that the file's facts are known before anything is written. While it is read,
    `damaged` and `patched` count errors, and `ends_early` becomes true if the file is truncated.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_FRAME_PIXELS) -> None:
        self.name = printable(path)
        self.damaged = 0  # packets that could not be decoded
        self.patched = 0  # frames in which the decoder had to guess
        self.ends_early = False
        with ExitStack() as closing:
            self.container = closing.enter_context(open_video(path, max_pixels))
            self._video = self._choose_stream(max_pixels)
            self._video.thread_type = "AUTO"
            self._decoder = decoder_of(self._video)
            self._end_s, self._packets = Fraction(0), 0
            self._held: list[Packet[Any]] = []  # packets before the first frame
            self._steps = self._decode()
            self._first = self._first_frames()
            self._describe(self._first[0])
            self._stack = closing.pop_all()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def others(self) -> list[Stream]:
        """Every stream except the one that is translated."""
        return [stream for stream in self.container.streams if stream.index != self._video.index]

    @property
    def index(self) -> int:
        """The index of the stream that is translated."""
        return self._video.index

    @property
    def metadata(self) -> dict[str, str]:
        """The video stream's own metadata: language, title."""
        return dict(self._video.metadata)

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) of the first frame, upright, with square pixels."""
        return shown_size(self.height, self.width, self.sample_aspect, self.orientation)

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        """Frames, decoded sound of the streams in `audio_to_decode`, and packets of the other streams."""
        clock = Clock(self.time_base, self.start_s)
        for found in chain(self._held, (self._first,), self._steps):
            if not isinstance(found, list):
                yield from self._pass_on(found, audio_to_decode)
                continue
            for frame in found:
                self.patched += bool(frame.is_corrupt)
                lasts = int(getattr(frame, "duration", 0) or 0) or self.frame_ticks
                time_s = None if frame.pts is None else frame.pts * self.time_base
                yield Frame(frame, clock.place(time_s, lasts * self.time_base), lasts)
        self.ends_early = self.ends_early or self._is_short()

    def _first_frames(self) -> list[VideoFrame]:
        for found in self._steps:
            if isinstance(found, list):
                return found
            self._held.append(found)
        protected = self._video.codec_context.codec_tag in _ENCRYPTED
        reason = "it is encrypted" if protected else "it is damaged or encrypted"
        raise VideoError(f"{self.name}: not one frame can be decoded ({reason}): give a whole, unprotected copy")

    def _decode(self) -> Iterator[list[VideoFrame] | Packet[Any]]:
        """Lists of one or more frames, and the packets of other streams."""
        for packet in self._demux():
            if packet is not None and packet.stream.index != self._video.index:
                yield packet
                continue
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError:
                self.damaged += 1
                continue
            if frames:
                yield frames

    def _demux(self) -> Iterator[Packet[Any] | None]:
        """Every packet. If the file cannot be read to its end, the last item is None, which flushes the decoder."""
        try:
            for packet in self.container.demux():
                self._note_end(packet)
                yield packet
        except av.FFmpegError:
            self.ends_early = True
            yield None

    def _note_end(self, packet: Packet[Any]) -> None:
        time_base = as_fraction(packet.time_base)
        begins = packet.dts if packet.pts is None else packet.pts
        if begins is not None and time_base:
            self._end_s = max(self._end_s, (begins + (packet.duration or 0)) * time_base)
        self._packets += packet.stream.index == self._video.index and packet.size > 0

    def _pass_on(self, packet: Packet[Any], audio_to_decode: Set[int]) -> Iterator[Item]:
        index = packet.stream.index
        if index not in audio_to_decode:
            if packet.size:  # empty packets only flush decoders
                yield packet
            return
        stream = packet.stream
        assert isinstance(stream, AudioStream)
        try:
            sounds = stream.decode(packet)
        except av.FFmpegError:
            self.damaged += 1
            return
        for sound in sounds:
            yield Sound(sound, index)

    def _choose_stream(self, max_pixels: int) -> VideoStream:
        """The stream to translate: FFmpeg's choice, or the first moving one if that is still. Raises VideoError."""
        moving = [stream for stream in self.container.streams.video if not stream.disposition & _NOT_MOVING]
        if not moving:
            has_sound = bool(self.container.streams.audio)
            what = "has sound but no video" if has_sound else "has no video"
            raise VideoError(f"{self.name} {what}: give a video file")
        best = self.container.streams.best("video")
        stream = next((one for one in moving if best is not None and one.index == best.index), moving[0])
        if stream.codec_context is None:
            raise VideoError(
                f"{self.name} uses a codec that this FFmpeg cannot decode: convert it to H.264 with `ffmpeg` first"
            )
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise VideoError(
                f"{self.name} has frames of {width} x {height} pixels, more than the limit of {max_pixels}: "
                "scale it down first, or raise --max-pixels"
            )
        self.stated = stated_by(stream.codec_context)
        refuse_hdr(self.stated.transfer, self.name)
        stream.codec_context.options = {"max_pixels": str(max_pixels)}  # frames may grow mid-stream
        return stream

    def _describe(self, first: VideoFrame) -> None:
        context, container = self._video.codec_context, self.container
        check_readable(first, self.name, self.stated)
        changes = (conversion_note(first, self.stated), alpha_note(self._video))
        self.changes = [clause for clause in changes if clause]
        self.width, self.height = first.width, first.height
        self.orientation: Matrix = display_matrix(first)
        self.interlaced = bool(first.interlaced_frame)
        self.sample_aspect = as_fraction(self._video.sample_aspect_ratio) or Fraction(1)
        rates = (as_fraction(rate) for rate in (self._video.average_rate, self._video.guessed_rate))
        self.rate = next((rate for rate in rates if rate and rate <= _FASTEST), _FALLBACK_RATE)
        self.time_base = as_fraction(self._video.time_base) or as_fraction(context.time_base) or 1 / self.rate
        self.frame_ticks = max(1, ticks(1 / self.rate, self.time_base))
        starts = [Fraction(container.start_time, av.time_base)] if container.start_time is not None else []
        if first.pts is not None:
            starts.append(first.pts * self.time_base)
        self.start_s = min(starts, default=Fraction(0))
        self.duration_s = Fraction(container.duration, av.time_base) if container.duration else None
        self.frames = self._video.frames or (round(self.duration_s * self.rate) if self.duration_s else 0)

    def _is_short(self) -> bool:
        """Whether the file is shorter than it states: by more than two frames if it has fewer packets than it states,
        otherwise by more than a second and more than a fiftieth, because durations in headers are rough."""
        if self.duration_s is None or not self.container.format.name.startswith(_STATES_DURATION):
            return False
        missing = self.start_s + self.duration_s - self._end_s
        if 0 < self._packets < self._video.frames:
            return missing > 2 / self.rate
        return missing > max(Fraction(1), self.duration_s * _SHORTFALL)
