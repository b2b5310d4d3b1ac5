"""Write a video file: check where it may go, then mux the frames with the tracks beside them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet

from starcast.absence import is_url
from starcast.errors import OptionError, VideoError, printable, reason_of
from starcast.runtime.bundle import refuse_to_write_into
from starcast.runtime.encoding import ANIMATIONS, EncodingOptions, check_sequence, container_of, is_sequence
from starcast.runtime.record import record_beside, refuse_foreign_record
from starcast.runtime.video.film_record import MARK
from starcast.runtime.video.frames import RgbFrame, Stored
from starcast.runtime.video.input.film import Film, Sound
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.containers import muxer_options
from starcast.runtime.video.output.encode import VideoEncoder
from starcast.runtime.video.output.metadata import (
    ANY_ENTRY,
    carry_over,
    kept_metadata,
    lost_metadata,
    needs_any_entry,
    only_language,
)
from starcast.runtime.video.output.tracks import Tracks, tracks_for
from starcast.runtime.video.restart.parts import Parts, folder_of, refuse_foreign
from starcast.runtime.video.restart.segments import Segments

# how long sound may wait in the muxer for the frames of its time, which come a segment at a time; more is written, so
# that a film of few frames a minute does not keep its sound in memory
_WAIT_US = "40000000"


class Sink:
    """Writes to `path`. Use it in `with`: the file is complete when the block ends without an error.

    Sound and subtitles come from `source`, and so do chapters and metadata, unless `metadata` is False. `notes` says
    what becomes of them, and is complete after the block. Raises VideoError, which names `name`.

    Frames are encoded in segments, which lie in `parts`; without `parts`, in a folder that goes with the block.
    """

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
        parts: Parts | None = None,
    ) -> None:
        self._parts, self._own_parts = parts, None if parts is not None else Parts(path)
        encoding = complete(encoding, path)
        self._how = size, rate, time_base, encoding
        self._segments: Segments | None = None
        self._keeps_metadata = metadata
        self._name, self._path, self._source = name, path, source
        self.refused = 0
        with self._writing():
            self._begin(path, size, rate, time_base, encoding, source, mark)
        self.notes = [*self.tracks.notes(), *([self._encoder.note] if self._encoder.note else [])]

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                if self._segments is not None:
                    self._segments.abandon(kind, error, trace)
                with contextlib.suppress(av.FFmpegError):  # the caller deletes the file
                    self._container.close()
                return
            with self._writing():
                try:
                    for packets in (
                        self._encoded.flush(),
                        *(track.flush() for track in self.tracks.by_index.values()),
                    ):
                        self._mux(packets)
                finally:
                    self._container.close()
                self.notes += [*self.tracks.final_notes(), *self._metadata_notes()]
        finally:
            if self._own_parts is not None:
                self._own_parts.discard()

    @property
    def encoder(self) -> Mapping[str, str]:
        """What decides over the bytes of a segment, besides its frames."""
        context = self._encoder.stream.codec_context
        return {"name": context.name, "extradata": (context.extradata or b"").hex()}

    def write(self, item: RgbFrame | Stored | Sound | Packet[Any]) -> None:
        """Add the next frame, sound or packet. A frame may be stored in the parts already; such frames come first.

        Packets that the muxer refuses are damaged sound: they are dropped and counted in `refused`. The error may come
        with a later packet of another stream, because the muxer sorts packets before it reads them.
        """
        with self._writing():
            if isinstance(item, RgbFrame):
                self._mux(self._encoded.write(item))
                return
            if isinstance(item, Stored):
                self._mux(self._encoded.pass_stored())
                return
            index = item.stream if isinstance(item, Sound) else item.stream.index
            track = self.tracks.by_index.get(index)
            if track is not None:
                self._mux(track.write(item.frame if isinstance(item, Sound) else item))

    @property
    def _encoded(self) -> Segments:
        if self._segments is None:
            if self._own_parts is not None:
                self._own_parts.begin({})
            parts = self._parts or self._own_parts
            assert parts is not None
            self._segments = Segments(parts, self._encoder.stream, *self._how)
        return self._segments

    def _metadata_notes(self) -> list[str]:
        if self._source is None or not self._keeps_metadata:
            return []
        streams = [(self._source.index, 0), *self.tracks.places()]
        lost = lost_metadata(self._source, self._path, streams)
        return [f"{self._name} does not keep this metadata of the source: {', '.join(lost)}"] if lost else []

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for packet in packets:
            try:
                self._container.mux(packet)
            except av.FFmpegError as error:
                if isinstance(error, OSError) or not self.tracks.by_index:
                    raise
                self.refused += 1

    def _begin(
        self,
        path: Path,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        encoding: EncodingOptions,
        source: Film | None,
        mark: str | None,
    ) -> None:
        container_format = container_of(path)
        metadata = kept_metadata(source.metadata) if source is not None and self._keeps_metadata else {}
        flags = (ANY_ENTRY,) if needs_any_entry(container_format, metadata) else ()
        container: OutputContainer = av.open(
            str(path.resolve()), "w", format=container_format,
            container_options={**muxer_options(container_format, time_base, *flags), "max_interleave_delta": _WAIT_US},
        )  # fmt: skip
        try:
            self._encoder = VideoEncoder(container, *size, rate, time_base, encoding)
            self.tracks = Tracks()
            if source is not None:
                keep = kept_metadata if self._keeps_metadata else only_language
                self.tracks = tracks_for(
                    container,
                    source.others,
                    source.start_s,
                    path.suffix.lower(),
                    keep,
                    codec=encoding.codec or "h264",
                )
                if source.is_trimmed:
                    self.tracks.trim(source.lasts_s)
                if self._keeps_metadata:
                    carry_over(source, container, self._encoder.stream)
            if mark is not None:
                self._encoder.stream.metadata[MARK] = mark
            container.start_encoding()
        except BaseException:
            with contextlib.suppress(av.FFmpegError):
                container.close()
            raise
        self._container = container

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise cannot_be_written(self._name, error) from error


def cannot_be_written(name: str, error: OSError | av.FFmpegError) -> VideoError:
    """The error for a film that the system did not let us write."""
    return VideoError(f"{name} cannot be written ({reason_of(error)}): free some disk space, or choose another -o")


def check_target(target: Path, source: Path | None) -> None:
    """Raise OptionError if a video may not be written to `target`, or its record beside it, even with --overwrite.
    `source` is what the video is made from, if anything."""
    if str(target) == "-" or is_url(target):
        raise OptionError(f"a video is written to a file only, not to {printable(target)}: give -o the name of a file")
    if target.is_dir():
        example = target / ("video.mp4" if source is None else source.with_suffix(".mp4").name)
        raise OptionError(f"{printable(target)} is a folder: give -o the name of a file, such as {printable(example)}")
    check_sequence(target)
    if target.suffix.lower() not in ANIMATIONS and not is_sequence(target):
        container_of(target)
    if target.exists() and not target.is_file():
        raise OptionError(f"{printable(target)} is a pipe, a socket or a device: give -o the name of a file")
    if source is not None and _is_same(target, source):
        raise OptionError(f"{printable(target)} is the source itself: choose another -o")
    parent = target.resolve().parent
    existing = next((folder for folder in (parent, *parent.parents) if folder.exists()), parent)
    if not existing.is_dir():
        raise OptionError(f"{printable(existing)} is a file, so {printable(target)} cannot be in it: choose another -o")
    refuse_to_write_into(target)
    refuse_foreign_record(record_beside(target))
    refuse_foreign(folder_of(target))


def _is_same(target: Path, source: Path) -> bool:
    if source.exists() and target.exists() and target.samefile(source):
        return True
    return os.path.lexists(target) and os.path.realpath(target) == os.path.realpath(source)
