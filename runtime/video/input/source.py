"""A video file, read once from start to end: frames decoded one by one, sound and subtitles as packets."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from starcast.command_line import command_line
from starcast.errors import VideoError, printable
from starcast.runtime.video.input.advice import QUALITY, sound_for
from starcast.runtime.video.input.alpha import alpha_note, decoder_of
from starcast.runtime.video.input.animation import Animation, is_animation
from starcast.runtime.video.input.decoding import FrameDecoder, Shown
from starcast.runtime.video.input.deinterlace import deinterlace, is_possible
from starcast.runtime.video.input.demuxing import Demuxer, start_of
from starcast.runtime.video.input.film import Film, Frame, Sound
from starcast.runtime.video.input.input_options import AUTO, REFUSE, USUAL_INPUT, InputOptions
from starcast.runtime.video.input.joined import another_film_follows
from starcast.runtime.video.input.joined_streams import find_splice
from starcast.runtime.video.input.opening import open_video
from starcast.runtime.video.input.orientation import SquareSizes, display_matrix, upright_size
from starcast.runtime.video.input.programmes import programmes_of
from starcast.runtime.video.input.sequence import ImageSequence
from starcast.runtime.video.input.sequence_files import is_sequence
from starcast.runtime.video.input.stream_choice import choose
from starcast.runtime.video.input.tags import Tags, check_readable, conversion_note, refuse_hdr, stated_by, tags_of
from starcast.runtime.video.input.truncation import is_cut, zeros_at_end
from starcast.runtime.video.options import MAX_FRAME_PIXELS
from starcast.runtime.video.timing import Clock, as_fraction, ticks

if TYPE_CHECKING:
    from starcast.runtime.video.input.film import Item

_NOT_MOVING = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_FALLBACK_RATE = Fraction(25)
_FASTEST = 1000  # frames per second; a higher rate is a time base mistaken for a rate
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS: frames one after another, such as JPEGs
_TICKS_A_FRAME = 8  # at least
_DEINTERLACED = "is interlaced, and is deinterlaced by FFmpeg's bwdif"
_INTERLACED = "is interlaced, and is not deinterlaced, so comb artefacts may show"
_ENCRYPTED = ("encv", "drmi")
_INDEXED = ("mov", "matroska", "avi")  # formats that say where the key frames are
_SEARCHED_S = 10  # in others FFmpeg looks for a time, and decodes from the next key frame on


@dataclass(frozen=True)
class _Decoded:
    """A frame whose time is not known yet."""

    shown: Shown
    square_size: tuple[int, int]


def open_film(path: Path, max_pixels: int = MAX_FRAME_PIXELS, reading: InputOptions = USUAL_INPUT) -> Film:
    """A file of any kind that `video` translates, or a sequence of images.

    Raises VideoError, ImageError or OptionError, which name the file.
    """
    if is_sequence(path):
        return ImageSequence(path, max_pixels, reading)
    kind = Animation if is_animation(path) else Source
    return kind(path, max_pixels, reading)


class Source(Film):
    """An open file with a video stream. Raises VideoError or OptionError, which name the file.

    Opening decodes the first frame, so that the file's facts are known before anything is written.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_FRAME_PIXELS, reading: InputOptions = USUAL_INPUT) -> None:
        self.name = printable(path)
        self._path = path
        self._may_be_hdr = reading.hdr != REFUSE
        self._keeps_alpha = reading.keep_alpha
        self._deinterlaces = reading.deinterlace == AUTO and is_possible()
        self._damaged_sound = 0
        self._seen: Tags | None = None  # of the frame before
        self._interlaced = False
        with ExitStack() as closing:
            self._splice = find_splice(path) if path.is_file() and os.access(path, os.R_OK) else None
            self.container = closing.enter_context(open_video(path, max_pixels, self._splice))
            self._video = self._choose_stream(max_pixels, reading.stream)
            self._video.thread_type = "AUTO"
            is_broadcast = self.container.format.name == "mpegts" and self._splice is None
            self._programmes = programmes_of(path) if is_broadcast else []
            self._describe_stream()
            self._sizes = SquareSizes(self._video)
            self._demuxer = Demuxer(self.container, self._video, self.rate)
            self._decoder = FrameDecoder(decoder_of(self._video), self._second_decoder(closing, max_pixels))
            self._held: list[Packet[Any]] = []  # packets before the first frame
            self._steps = self._decode()
            self._first = self._first_frames()
            self._describe(self._first[0])
            self._stack = closing.pop_all()

    def close(self) -> None:
        # unfinished, it would hold the source, and so decoders and their frames, until Python looks for cycles
        self._steps.close()
        self._stack.close()

    @property
    def damaged(self) -> int:
        return self._decoder.damaged + self._damaged_sound

    @property
    def holes(self) -> int:
        return max(len(self._demuxer.holes.at_s), self._demuxer.breaks)

    @property
    def first_hole_s(self) -> Fraction | None:
        return next((at_s - self.start_s for at_s in self._demuxer.holes.at_s), None)

    @property
    def lacks_streams(self) -> bool:
        return self._splice is not None and self._splice.lost

    @property
    def has_late_streams(self) -> bool:
        return self._demuxer.has_late_streams

    @property
    def index(self) -> int:
        return self._video.index

    @property
    def others(self) -> Sequence[Stream]:
        elsewhere = {stream.index for stream in self.other_programmes}
        return [stream for stream in self.container.streams if stream.index not in {self._video.index, *elsewhere}]

    @property
    def other_programmes(self) -> Sequence[Stream]:
        ours = [streams for streams in self._programmes if self._video.id in streams]
        if not ours:
            return []
        elsewhere = frozenset().union(*self._programmes).difference(*ours)
        return [stream for stream in self.container.streams if stream.id in elsewhere]

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.container.metadata

    def stream_metadata(self, index: int) -> Mapping[str, str]:
        return self.container.streams[index].metadata

    @property
    def chapters(self) -> list[Any]:
        return self.container.chapters() if hasattr(self.container, "chapters") else []

    def seek(self, time_s: Fraction) -> None:
        if not self.container.format.name.startswith(_INDEXED):
            time_s -= _SEARCHED_S
        if self._splice is not None or time_s <= 0:
            return
        try:
            self.container.seek(math.floor((self.start_s + time_s) * av.time_base))
        except av.FFmpegError:  # the file has no index: go on from where it is
            return
        self._steps.close()
        self._demuxer = Demuxer(self.container, self._video, self.rate)
        self._decoder.restart()
        self._held, self._first, self._steps = [], [], self._decode()

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Iterator[Item]:
        items = self._read(audio_to_decode)
        return deinterlace(items) if self._deinterlaces else items

    def _read(self, audio_to_decode: Set[int]) -> Iterator[Item]:
        clock = Clock(self.time_base, self.start_s)
        waiting: _Decoded | None = None  # the next frame tells whether this one's time can be right
        last: int | None = None
        for found in chain(self._held, (self._first,), self._steps):
            if not isinstance(found, list):
                yield from self._pass_on(found, audio_to_decode)
                continue
            for decoded in found:
                if waiting is not None:
                    time = _plausible_time(last, waiting.shown.pts, decoded.shown.pts)
                    yield self._placed(waiting, time, clock)
                    last = last if time is None else time
                waiting = decoded
        if waiting is not None:
            yield self._placed(waiting, waiting.shown.pts, clock)
        for index in sorted(audio_to_decode):
            yield from self._decode_sound(index, None)
        container, end = self.container.format.name, self._demuxer.end
        is_short = self._demuxer.ends_early or self._demuxer.is_short(self.start_s)
        self.ends_early = is_short or is_cut(self._path, container, end)
        self.zeros_at_end = zeros_at_end(self._path, end)
        changes_codec = self._splice is not None and self._splice.end is not None
        self.is_followed = changes_codec or another_film_follows(self._path, container, end)

    def _placed(self, decoded: _Decoded, time: int | None, clock: Clock) -> Frame:
        frame = decoded.shown.frame
        lasts_s = decoded.shown.duration * self._tick or 1 / self.rate
        self._notice_colours(frame)
        self.patched += bool(frame.is_corrupt)
        self._notice_fields(frame)
        place = clock.place(None if time is None else time * self._tick, lasts_s)
        return Frame(
            frame, place, max(1, ticks(lasts_s, self.time_base)), decoded.square_size, display_matrix(frame),
            keeps_alpha=self._keeps_alpha,
        )  # fmt: skip

    def _first_frames(self) -> list[_Decoded]:
        for found in self._steps:
            if isinstance(found, list):
                return found
            self._held.append(found)
        protected = self._video.codec_context.codec_tag in _ENCRYPTED
        reason = "it is encrypted" if protected else "it is damaged or encrypted"
        raise VideoError(f"{self.name}: not one frame can be decoded ({reason}): give a whole, unprotected copy")

    def _decode(self) -> Generator[list[_Decoded] | Packet[Any]]:
        """Lists of one or more frames, and the packets of other streams."""
        for packet in self._demuxer.read():
            if packet.stream.index != self._video.index:
                yield packet
            elif frames := self._decoder.decode(packet):
                yield self._with_sizes(frames)
        if frames := self._decoder.drain():
            yield self._with_sizes(frames)

    def _with_sizes(self, frames: list[Shown]) -> list[_Decoded]:
        return [_Decoded(shown, self._sizes.of(shown.frame)) for shown in frames]

    def _pass_on(self, packet: Packet[Any], audio_to_decode: Set[int]) -> Iterator[Item]:
        if not packet.size:  # nothing to copy, and the decoders of sound take it for the end
            return
        if packet.stream.index in audio_to_decode:
            yield from self._decode_sound(packet.stream.index, packet)
        else:
            yield packet

    def _decode_sound(self, index: int, packet: Packet[Any] | None) -> Iterator[Sound]:
        """The sound in `packet`, or, for None, what the decoder still holds."""
        stream = self.container.streams[index]
        assert isinstance(stream, AudioStream)
        try:
            sounds = stream.decode(packet)
        except av.FFmpegError:
            self._damaged_sound += packet is not None
            return
        for sound in sounds:
            yield Sound(sound, index)

    def _second_decoder(self, closing: ExitStack, max_pixels: int) -> Callable[[], Any]:
        """Opens another decoder of the video, with one thread, which goes with the source. Does not refer to it."""
        again = closing.enter_context(ExitStack())
        path, splice, index = self._path, self._splice, self._video.index

        def reopen() -> Any:
            stream = again.enter_context(open_video(path, max_pixels, splice)).streams[index]
            assert isinstance(stream, VideoStream)
            stream.codec_context.options = {"max_pixels": str(max_pixels)}
            stream.thread_count, stream.thread_type = 1, "SLICE"
            return decoder_of(stream)

        return reopen

    def _choose_stream(self, max_pixels: int, wanted: str | None) -> VideoStream:
        """The stream to translate: the one that `wanted` names, FFmpeg's choice, or the first moving one if that is
        still. Raises VideoError, or OptionError if there is no such stream."""
        moving = [stream for stream in self.container.streams.video if not stream.disposition & _NOT_MOVING]
        if not moving:
            has_sound = bool(self.container.streams.audio)
            what = "has sound but no video" if has_sound else "has no video"
            raise VideoError(f"{self.name} {what}: give a video file")
        stream = choose(moving, wanted, self.container.streams.best("video"), self.name)
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
        self.sound_advice = sound_for(self.container.streams)
        if not self._may_be_hdr:
            refuse_hdr(self.stated, self.name, self.sound_advice)
        stream.codec_context.options = {"max_pixels": str(max_pixels)}  # frames may grow mid-stream
        return stream

    def _describe_stream(self) -> None:
        container = self.container
        stated = (self._video.average_rate, self._video.guessed_rate)
        # without times, the average is that of a guess
        rates = (as_fraction(rate) for rate in (stated[::-1] if container.format.flags & _NO_TIMES else stated))
        self.rate = next((rate for rate in rates if rate and rate <= _FASTEST), _FALLBACK_RATE)
        self._tick = as_fraction(self._video.time_base) or 1 / self.rate
        # finer, if a tick is as long as a frame: two frames at the same time would move all later ones
        self.time_base = self._tick / max(1, math.ceil(_TICKS_A_FRAME * self._tick * self.rate))
        seconds = Fraction(container.duration, av.time_base) if container.duration else Fraction(0)
        self.frames = self._video.frames or round(seconds * self.rate)  # 0: unknown

    def _describe(self, first: _Decoded) -> None:
        frame = first.shown.frame
        self.changes: list[str] = [clause for clause in (self._rate_note(), alpha_note(self._video)) if clause]
        self._notice_colours(frame)
        self.stated = self.stated._replace(peak=tags_of(frame, self.stated).peak)
        self._notice_fields(frame)
        self.shown_size = upright_size(first.square_size, display_matrix(frame))  # (height, width) of the first frame
        begins_s = (first.shown.pts or 0) * self._tick
        self.start_s = start_of(self.container, begins_s, self._demuxer.earliest_s)
        self.begins_s = begins_s - self.start_s

    def _notice_colours(self, frame: VideoFrame) -> None:
        """Note how a frame's colours are changed, if that is new. Raises VideoError if they cannot be read."""
        tags = tags_of(frame, self.stated)
        if tags == self._seen:
            return
        check_readable(frame, tags, self.name, self.sound_advice, may_be_hdr=self._may_be_hdr)
        self._seen = tags
        clause = conversion_note(tags)
        if clause is not None and clause not in self.changes:
            self.changes.append(clause)

    def _notice_fields(self, frame: VideoFrame) -> None:
        """Note that a frame is interlaced, if it is the first."""
        if frame.interlaced_frame and not self._interlaced:
            self._interlaced = True
            self.changes.append(_DEINTERLACED if self._deinterlaces else _INTERLACED)

    def _rate_note(self) -> str | None:
        """That frames have no times, and what is assumed, as a clause; None if the file tells."""
        if not self.container.format.flags & _NO_TIMES or self._video.codec_context.framerate:
            return None
        return (
            f"states no frame rate, so {float(self.rate):g} frames per second are assumed: if that is wrong, set the "
            f"right rate first, here 30, with `{command_line('ffmpeg', '-r', '30', '-i', 'IN', *QUALITY, 'OUT.mkv')}`"
        )


def _plausible_time(last: int | None, time: int | None, following: int | None) -> int | None:
    """A frame's time, or None if it must be wrong: later than the next frame's, which itself is in order."""
    if time is None or following is None or following >= time or (last is not None and following <= last):
        return time
    return None
