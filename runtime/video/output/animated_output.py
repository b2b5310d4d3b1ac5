"""Write an animated GIF, WebP or PNG: the frames as a lossless film first, and the animation from that at the end.

A GIF needs all frames twice, for one palette that fits them all; the others need to know how long the last one is
shown. The film also lets an interrupted animation go on, as other films do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import av
import av.filter
from av.packet import Packet
from av.video.frame import VideoFrame

from starcast.errors import VideoError, reason_of
from starcast.leftovers import new_partial_file
from starcast.runtime.encoding import ANIMATIONS, EncodingOptions
from starcast.runtime.video.frames import RgbFrame, Stored
from starcast.runtime.video.input.film import Film, Sound
from starcast.runtime.video.output.animation_mark import copy_with_mark
from starcast.runtime.video.output.sink import Sink
from starcast.runtime.video.output.tracks import Tracks
from starcast.runtime.video.timing import as_fraction

_SHORTEST = 2  # ticks of a GIF: players show frames of less for ten
_MOST_TICKS = 65_535
_OPAQUE = 128  # from this alpha on, a pixel of a GIF is


class _Format(NamedTuple):
    """FFmpeg's encoder and muxer of an animation, its pixel formats without and with transparency, and its ticks."""

    encoder: str
    muxer: str
    opaque: str
    transparent: str
    tick: Fraction


_FORMATS = {
    "gif": _Format("gif", "gif", "pal8", "pal8", Fraction(1, 100)),
    "webp": _Format("libwebp_anim", "webp", "bgra", "bgra", Fraction(1, 1000)),
    "apng": _Format("apng", "apng", "rgb24", "rgba", Fraction(1, 1000)),
}


class FromFilm(ABC):
    """Writes frames as a lossless film, and converts that at the end; otherwise as `Sink`, whose `settings` it
    takes."""

    def __init__(
        self,
        path: Path,
        name: str,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
        source: Film | None,
        **settings: Any,
    ) -> None:
        self.tracks, self.refused = Tracks(), 0
        self._path, self._name = path, name
        self._film = new_partial_file(path.with_suffix(".mkv"))
        lossless = dataclasses.replace(encoding, crf=None)
        try:
            self._sink = Sink(self._film.path, name, size, rate, time_base, lossless, **settings)
        except BaseException:
            self._film.remove()
            raise
        self.notes = [*self._sink.notes]
        if source is not None and source.others:
            kinds = {"audio": "sound", "subtitle": "subtitles"}
            left_out = dict.fromkeys(kinds.get(stream.type, "attachments") for stream in source.others)
            self.notes.append(f"{path.suffix} holds frames alone, without the source's {' and '.join(left_out)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sink.__exit__(kind, error, trace)
            if kind is None:
                self._convert()
        finally:
            self._film.remove()

    @property
    def encoder(self) -> Mapping[str, str]:
        """As that of `Sink`."""
        facts: Mapping[str, str] = getattr(self._sink, "encoder", {})
        return facts

    def write(self, item: RgbFrame | Stored | Sound | Packet[Any]) -> None:
        """Add the next frame; all else is left out."""
        if not isinstance(item, Sound | Packet):
            self._sink.write(item)

    def _frames(self) -> Iterator[VideoFrame]:
        with av.open(str(self._film.path)) as film:
            yield from film.decode(video=0)

    @abstractmethod
    def _convert(self) -> None:
        """Make the output from the film."""


class AnimatedOutput(FromFilm):
    """Writes an animation to `path`."""

    def __init__(
        self,
        path: Path,
        name: str,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
        *,
        source: Film | None = None,
        mark: str | None = None,
        metadata: bool = True,
        **settings: Any,
    ) -> None:
        self._format = _FORMATS[ANIMATIONS[path.suffix.lower()]]
        self._crf, self._keeps_alpha = encoding.crf or 0, encoding.keeps_alpha
        self._mark, self._size, self._rate = mark or "", size, rate
        super().__init__(path, name, size, rate, time_base, encoding, source, **settings)

    def _convert(self) -> None:
        try:
            palette = self._palette() if self._format.encoder == "gif" else None
            shown, last = self._ticks()
            self._write(palette, shown, last)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self._name} cannot be written ({reason_of(error)}): free some disk space, or choose another -o"
            ) from error

    def _ticks(self) -> tuple[list[int | None], int]:
        """When each frame is shown, from 0 on; None for one that has the tick of the next. And the last one's length.

        Times are rounded, never their differences, so that errors do not add up.
        """
        tick = self._format.tick
        with av.open(str(self._film.path)) as film:
            packets = [packet for packet in film.demux(video=0) if packet.size]
            base = (as_fraction(packets[0].time_base) if packets else None) or tick
            times = sorted((packet.pts or 0) * base for packet in packets)
            lasts = (packets[-1].duration or 0) * base if packets else Fraction(0)
        rounded = [round((time - times[0]) / tick) for time in times]
        shown = [None if after == this else this for this, after in zip(rounded, [*rounded[1:], None], strict=True)]
        kept = [time for time in shown if time is not None]
        lost = len(shown) - len(kept)
        if lost:
            self.notes.append(f"{self._name} lacks {lost} frames: {self._path.suffix} cannot show them that briefly")
        if self._format.encoder == "gif":
            short = sum(after - this < _SHORTEST for this, after in itertools.pairwise(kept))
            if short:
                self.notes.append(
                    f"{self._name} has {short} frames of 1/100 s, which most players show for 10/100 s: a GIF runs at "
                    "50 frames per second at most"
                )
        return shown, min(max(1, round((lasts or 1 / self._rate) / tick)), _MOST_TICKS)

    def _palette(self) -> VideoFrame | None:
        """One palette for all frames; None if there are none."""
        graph: Any = av.filter.Graph()
        source: Any = None
        for frame in self._frames():
            if source is None:
                source = graph.add_buffer(
                    width=frame.width, height=frame.height, format="bgra", time_base=Fraction(1, 1000)
                )
                reserve = "1" if self._keeps_alpha else "0"
                _chain(source, graph.add("palettegen", f"reserve_transparent={reserve}"), graph.add("buffersink"))
                graph.configure()
            source.push(self._as_bgra(frame))
        if source is None:
            return None
        source.push(None)
        palette: VideoFrame = graph.vpull()
        return palette

    def _as_bgra(self, frame: VideoFrame) -> VideoFrame:
        shown = frame.reformat(format="bgra")
        shown.pts, shown.time_base = frame.pts, frame.time_base
        return shown

    def _write(self, palette: VideoFrame | None, shown: list[int | None], last: int) -> None:
        how, tick = self._format, self._format.tick
        finished = new_partial_file(self._path)
        muxing = {"gif": {"loop": "0", "final_delay": str(last)}, "webp": {"loop": "0"},
                  "apng": {"plays": "0", "final_delay": f"{last}/{tick.denominator}"}}[how.muxer]  # fmt: skip
        try:
            end = max((time for time in shown if time is not None), default=0) + last
            with av.open(str(finished.path), "w", format=how.muxer, container_options=muxing) as out:
                stream: Any = None
                for frame, time in zip(self._coloured(palette), shown, strict=True):
                    if time is None:
                        continue
                    if stream is None:
                        stream = out.add_stream(how.encoder, rate=tick.denominator, options=self._settings())
                        stream.width, stream.height = frame.width, frame.height
                        stream.pix_fmt = frame.format.name
                        stream.codec_context.time_base = stream.time_base = tick
                    frame.pts, frame.time_base = time, tick
                    for packet in stream.encode(frame):
                        packet.duration = 0 if how.muxer != "webp" else packet.duration
                        out.mux(packet)
                if stream is not None:
                    out.mux(stream.encode(None))
            copy_with_mark(finished.path, self._path, how.muxer, self._mark, self._size, end)
        finally:
            finished.remove()

    def _coloured(self, palette: VideoFrame | None) -> Iterator[VideoFrame]:
        """The frames in the format that is encoded."""
        if palette is None:
            name = self._format.transparent if self._keeps_alpha else self._format.opaque
            for frame in self._frames():
                yield frame.reformat(format=name)
            return
        graph: Any = av.filter.Graph()
        source: Any = None
        for frame in self._frames():
            if source is None:
                source = graph.add_buffer(
                    width=frame.width, height=frame.height, format="bgra", time_base=Fraction(1, 1000)
                )
                colours = graph.add_buffer(
                    width=palette.width, height=palette.height, format=palette.format.name,
                    time_base=Fraction(1, 1000),
                )  # fmt: skip
                use = graph.add("paletteuse", f"dither=sierra2_4a:diff_mode=rectangle:alpha_threshold={_OPAQUE}")
                source.link_to(use, 0, 0)
                colours.link_to(use, 0, 1)
                use.link_to(graph.add("buffersink"))
                graph.configure()
                palette.pts, palette.time_base = 0, Fraction(1, 1000)
                colours.push(palette)
                colours.push(None)
            source.push(self._as_bgra(frame))
            yield from _pulled(graph)
        if source is not None:
            source.push(None)
            yield from _pulled(graph)

    def _settings(self) -> dict[str, str]:
        if self._format.encoder == "libwebp_anim":
            if self._crf == 0:
                return {"lossless": "1"}
            return {"quality": str(round(100 * (1 - self._crf / 63)))}
        if self._format.encoder == "gif" and self._keeps_alpha:
            return {"gifflags": "0"}  # whole frames: parts over a transparent frame leave holes
        return {}


def _chain(*contexts: Any) -> None:
    """Link filters one after the other."""
    for before, after in itertools.pairwise(contexts):
        before.link_to(after)


def _pulled(graph: Any) -> Iterator[VideoFrame]:
    """The frames that are ready."""
    with contextlib.suppress(av.BlockingIOError, EOFError):
        while True:
            yield graph.vpull()
