"""A film is encoded in closed segments, always, so that an interrupted one goes on behind the last whole segment and
comes out as if it had never stopped: each segment has an encoder of its own, and a file in the film's parts.

An encoder looks many frames ahead, so at a segment's end it has work left. It does that in a thread, while the next
segment begins. Then the segment's packets are read back, and go to the muxer with decoding times of their own, which
run through all segments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
from av.container import OutputContainer
from av.packet import Packet

from starcast.atomic import atomic_path
from starcast.errors import VideoError
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.stages import submit
from starcast.runtime.video.frames import RgbFrame, Stored
from starcast.runtime.video.input.film import Frame
from starcast.runtime.video.output.encode import VideoEncoder
from starcast.runtime.video.restart.journal import Segment
from starcast.runtime.video.restart.memory import State
from starcast.runtime.video.restart.parts import Parts, hash_of
from starcast.signals import undisturbed

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside
    from starcast.runtime.video.input.film import Item

# a crash costs hardly more than ten seconds of film; x264 and x265 put a key frame every 250 frames by themselves, and
# the usual sizes of a batch divide 240
SEGMENT_FRAMES = 240
# share of the next segment after which one must be whole. A fixed one, so that a muxer always gets packets in the same
# order; encoders look fewer frames ahead
_LATEST = 3
_CONTAINER = ".nut"  # stores packets as they are
# encoders whose packets NUT does not store whole: the alpha of VP9 lies beside its packets, and ProRes has no tag there
_OTHER_CONTAINERS = {"libvpx-vp9": ".mkv", "prores_ks": ".mov"}
_FORMATS = {".nut": "nut", ".mkv": "matroska", ".mov": "mov"}


def pass_stored(items: Iterable[Item], frames: int) -> Iterator[Item | Stored]:
    """The same items, with the first `frames` frames replaced."""
    for item in items:
        if frames and isinstance(item, Frame):
            frames -= 1
            yield Stored()
        else:
            yield item


def end_segments(items: Iterable[RgbFrame | Beside], begin: int = 0) -> Iterator[RgbFrame | Beside]:
    """The same items; frames know whether they end a segment. `begin` frames of the film came before."""
    number = begin
    for item in items:
        if isinstance(item, RgbFrame):
            number += 1
            if number % SEGMENT_FRAMES == 0:
                item = replace(item, ends_segment=True)
        yield item


class SegmentFile:
    """Encodes one segment into a file. Raises av.FFmpegError and OSError."""

    def __init__(
        self,
        parts: Parts,
        number: int,
        encoder: str,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
    ) -> None:
        suffix = _OTHER_CONTAINERS.get(encoder, _CONTAINER)
        self.path = parts.path(number, suffix)
        self._number = number
        self._coded: list[tuple[int, int]] = []
        self._decoded: list[int] = []
        self.frames = 0
        with ExitStack() as opening:
            partial = opening.enter_context(atomic_path(self.path))
            self._container: OutputContainer = av.open(str(partial), "w", format=_FORMATS[suffix])
            opening.push(_closing(self._container))
            self._encoder = VideoEncoder(self._container, *size, rate, time_base, encoding)
            self._container.start_encoding()
            self._stack = opening.pop_all()

    @property
    def extradata(self) -> bytes:
        """What decoders need to know before the first packet."""
        return self._encoder.stream.codec_context.extradata or b""

    def write(self, frame: RgbFrame) -> None:
        self.frames += 1
        self._mux(self._encoder.encode(frame.pixels, frame.pts, frame.duration, frame.alpha))

    def finish(self) -> Segment:
        """The segment, whose file is on the disk."""
        self._mux(self._encoder.flush())
        self._stack.close()
        delay = sum(time < min(pts for pts, _ in self._coded) for time in self._decoded)
        return Segment(
            number=self._number, coded=self._coded, delay=min(delay, len(self._coded) - 1), sha256=hash_of(self.path)
        )

    def abandon(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file."""
        self._stack.__exit__(kind, error, trace)

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self._coded.append((packet.pts, packet.duration or 1))
            self._decoded.append(packet.pts if packet.dts is None else packet.dts)
            self._container.mux(packet)


def _closing(container: OutputContainer) -> Any:
    """An exit that closes a container, whose errors count only if there was none before."""

    def close(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            container.close()
        except av.FFmpegError:
            if kind is None:
                raise

    return close


class Joining:
    """Gives packets of segments, one after the other, the times with which a muxer takes them as one stream.

    Frames keep their times. A frame is decoded when the frame `delay` places before it is shown; the first ones, as far
    before that as the frame `delay` places behind the first one is shown after it. So x264 does it, too.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._shown: deque[int] | None = None  # of the last frames
        self._last: int | None = None

    def packets(self, parts: Parts, segment: Segment, stream: Any) -> Iterator[Packet[Any]]:
        """The packets of a segment for an output stream. Raises VideoError if its file holds others."""
        shown = sorted(pts for pts, _ in segment.coded)
        if self._shown is None:
            ahead = shown[segment.delay] - shown[0]
            self._shown = deque((pts - ahead for pts in shown[: segment.delay]), maxlen=segment.delay + 1)
        only = {"format_whitelist": "nut,matroska,mov", "protocol_whitelist": "file"}
        with av.open(str(parts.find(segment.number)), container_options=only) as file:
            packets = (packet for packet in file.demux(video=0) if packet.size)
            for packet, (pts, duration), now in zip(packets, segment.coded, shown, strict=True):
                self._shown.append(now)
                decoded = self._shown[0]
                if decoded > pts or (self._last is not None and decoded <= self._last):
                    raise VideoError("the encoder reorders frames farther than at the start: choose another --codec")
                self._last = decoded
                packet.pts, packet.dts, packet.duration = pts, decoded, duration
                packet.time_base, packet.stream = self._time_base, stream
                yield packet


class Segments:
    """Encodes frames in segments, and gives the packets of whole ones for the output's `stream`.

    Frames of an earlier run come first: `pass_stored` stands for each. Raises what SegmentFile and Joining raise.
    """

    def __init__(
        self,
        parts: Parts,
        stream: Any,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
    ) -> None:
        self._parts, self._stream = parts, stream
        self._how = size, rate, time_base, encoding
        self._joining = Joining(time_base)
        self._stored = parts.stored()
        self._passed = 0  # frames of an earlier run, of the segment that is next
        self._next: Segment | None = None
        self._number = 0
        self._file: SegmentFile | None = None
        self._finisher = ThreadPoolExecutor(1, "segments")  # its thread ends with this object
        self._finishing: Future[Segment] | None = None

    def write(self, frame: RgbFrame) -> Iterator[Packet[Any]]:
        """Add a frame; gives the packets of a segment that is whole by now."""
        if self._file is None:
            name = self._stream.codec_context.name
            self._file = SegmentFile(self._parts, self._number, name, *self._how)
            self._number += 1
            if self._file.extradata != (self._stream.codec_context.extradata or b""):
                raise VideoError("the encoder begins each segment in another way: choose another --codec")
        self._file.write(frame)
        if self._file.frames * _LATEST >= SEGMENT_FRAMES:
            yield from self._finished()
        if self._file.frames == SEGMENT_FRAMES:
            self._finish(frame.state or {})

    def pass_stored(self) -> Iterator[Packet[Any]]:
        """The next frame lies in an earlier run's segment; gives that segment's packets with its last frame."""
        self._next = self._next or next(self._stored)
        self._passed += 1
        if self._passed == len(self._next.coded):
            self._number = self._next.number + 1
            yield from self._joining.packets(self._parts, self._next, self._stream)
            self._next, self._passed = None, 0

    def flush(self) -> Iterator[Packet[Any]]:
        """The packets that are left; the last frames are no whole segment."""
        try:
            yield from self._finished()
            if self._file is not None:
                self._finish(None)
                yield from self._finished()
        except BaseException as error:  # nothing may be written any more once this has ended
            self.abandon(type(error), error, error.__traceback__)
            raise

    def abandon(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what is not whole. A segment that is being finished becomes whole."""
        if self._finishing is not None:
            with undisturbed():
                wait([self._finishing])
        if self._file is not None:
            self._file.abandon(kind, error, trace)

    def _finish(self, state: State | None) -> None:
        """End a segment. One without a `state` is not whole: the next run makes it again."""
        assert self._file is not None
        file, self._file = self._file, None
        with undisturbed():
            self._finishing = submit(self._finisher, _complete, file, self._parts, state)

    def _finished(self) -> Iterator[Packet[Any]]:
        """The packets of the segment that is being finished, if there is one."""
        if self._finishing is not None:
            segment = self._finishing.result()
            self._finishing = None  # not before: an interruption waits for what is under way
            yield from self._joining.packets(self._parts, segment, self._stream)


def _complete(file: SegmentFile, parts: Parts, state: State | None) -> Segment:
    try:
        segment = file.finish()
        if state is not None:
            parts.add(segment, state)
    except BaseException as error:
        file.abandon(type(error), error, error.__traceback__)
        raise
    return segment
