"""Read a film, fit its frames, make other frames of them, and write those with the sound.

    decode            fit                          making          encode
    Film.read    ->   RGB, upright, model's size   ->  model  ->   Sink.write

The stages before the last run in separate threads, each a few frames ahead of the next; the last runs in the caller's.
Packets of sound travel in the same queues. The queues limit how many frames are in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from starcast.errors import printable
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame, Stored
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.output.image_sequence_output import output_path
from starcast.runtime.video.output.outputs import open_sink
from starcast.runtime.video.output.sink import cannot_be_written
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.memory import Memory, restore
from starcast.runtime.video.restart.parts import Parts
from starcast.runtime.video.restart.segments import end_segments, pass_stored
from starcast.signals import undisturbed

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside
    from starcast.runtime.video.output.animated_output import FromFilm
    from starcast.runtime.video.output.sink import Sink

    Making = Callable[[Iterable[RgbFrame | Beside]], AbstractContextManager[Iterator[RgbFrame | Beside]]]


class Opening(NamedTuple):
    """What a film is written with: `size` is that of its frames, `mark` the line that says how it was made.

    `origin`: all facts that decide over its frames; an interrupted film goes on if they are the same, unless `restart`.
    `memories`: what the stages remember, by their names.
    """

    target: Path
    size: tuple[int, int]
    encoding: EncodingOptions
    mark: str
    metadata: bool
    origin: Mapping[str, Any]
    restart: bool
    memories: Mapping[str, Memory]


def write_film(
    source: Film,
    opening: Opening,
    geometry: Geometry,
    making: Making,
    report: FilmReport,
    bar: ProgressBar,
) -> Sink | FromFilm:
    """Read `source`, fit its frames as `geometry` says, make other frames of them, and write those with the sound.
    `making` opens the stages between; frames and packets go through it."""
    with (
        report.measured(),
        open_output(opening, source.rate, source.time_base, bar, source=source) as (sink, parts),
    ):
        _tell([*notes_on(source), *sink.notes], report, bar)
        known, told = len(sink.notes), len(source.changes)
        if parts.note:
            bar.print(parts.note)
        decoded = report.timed_items("decode", source.read(sink.tracks.audio_to_decode), is_frame)
        begin = parts.frames
        with (
            report.ahead(pass_stored(decoded, begin), "decode", yields=True) as frames,
            report.ahead(
                end_segments(fit_frames(frames, source, geometry, report), begin), "fit", yields=True
            ) as ready,
            making(ready) as made,
        ):
            for item in made:
                with report.timed("encode", frames=int(isinstance(item, RgbFrame))):
                    sink.write(item)
                if isinstance(item, RgbFrame | Stored):
                    report.frames += 1
                    report.stored += isinstance(item, Stored)
                    bar.advance()
                if len(source.changes) > told:  # from here on
                    _tell([f"{source.name} {clause}" for clause in source.changes[told:]], report, bar)
                    told = len(source.changes)
    _tell([*sink.notes[known:], *_final_notes(source)], report, bar)
    return sink


@contextmanager
def open_output(
    opening: Opening, rate: Fraction, time_base: Fraction, bar: ProgressBar, *, source: Film | None = None
) -> Iterator[tuple[Sink | FromFilm, Parts]]:
    """What a film is written to, and its parts; of an interrupted film, `parts.frames` are there and the stages
    remember what they knew behind them. The film is in place when the block ends without an error."""
    with (
        keeping_parts(opening, bar) as parts,
        output_path(opening.target) as part,
        open_sink(
            part,
            printable(opening.target),
            opening.size,
            rate,
            time_base,
            opening.encoding,
            source=source,
            mark=opening.mark,
            metadata=opening.metadata,
            parts=parts,
        ) as sink,
    ):
        _go_on(parts, sink, opening)
        yield sink, parts


def is_frame(item: object) -> bool:
    """Whether a decoded item is a frame, and not sound or a packet."""
    return isinstance(item, Frame)


@contextmanager
def keeping_parts(opening: Opening, bar: ProgressBar) -> Iterator[Parts]:
    """The parts of a film. They are removed when the block ends; after an error they stay, if a segment is whole."""
    parts = Parts(opening.target)
    try:
        yield parts
    except BaseException:
        with undisturbed():
            if parts.has_begun and not (parts.frames and opening.origin["content"]):
                parts.discard()
            elif parts.has_begun:
                bar.print(
                    f"{printable(opening.target)}: {parts.frames} frames are done and stay; the same command goes on "
                    "from there"
                )
        raise
    with undisturbed():
        parts.discard()


def _go_on(parts: Parts, sink: Sink | FromFilm, opening: Opening) -> None:
    try:
        parts.begin({**opening.origin, "encoder": dict(sink.encoder)}, anew=opening.restart)
    except OSError as error:
        raise cannot_be_written(printable(opening.target), error) from error
    if parts.frames:
        restore(opening.memories, parts.state)


def _tell(notes: Sequence[str], report: FilmReport, bar: ProgressBar) -> None:
    report.notes += notes
    for note in notes:
        bar.print(note)


def notes_on(source: Film) -> Sequence[str]:
    """What a user should know of a film before it is translated."""
    notes = [f"{source.name} {clause}" for clause in source.changes]
    if source.other_programmes:
        streams = ", ".join(f"{stream.type} {stream.index}" for stream in source.other_programmes)
        notes.append(f"{source.name} holds several programmes: one is translated, and the streams of the others are "
                     f"left out ({streams})")  # fmt: skip
    return notes


def _final_notes(source: Film) -> Sequence[str]:
    zeros = source.zeros_at_end
    notes = [f"{source.name} {clause}" for clause in source.last_changes]
    return [*notes, f"{source.name} ends in {zeros} zero bytes, which hold no video"] if zeros else notes
