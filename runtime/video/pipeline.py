"""Read a film, fit its frames, make other frames of them, and write those with the sound.

    decode            fit                          making          encode
    Film.read    ->   RGB, upright, model's size   ->  model  ->   Sink.write

The stages before the last run in separate threads, each a few frames ahead of the next; the last runs in the caller's.
Packets of sound travel in the same queues. The queues limit how many frames are in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starcast.errors import printable
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.film import Film, Frame
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.image_sequence_output import output_path
from starcast.runtime.video.outputs import open_sink
from starcast.runtime.video.report import FilmReport

if TYPE_CHECKING:
    from starcast.runtime.video.animated_output import FromFilm
    from starcast.runtime.video.frames import Beside
    from starcast.runtime.video.sink import Sink

    Making = Callable[[Iterable[RgbFrame | Beside]], AbstractContextManager[Iterator[RgbFrame | Beside]]]


class Opening(NamedTuple):
    """What a film is written with: `size` is that of its frames, `mark` the line that says how it was made."""

    target: Path
    size: tuple[int, int]
    encoding: EncodingOptions
    mark: str
    metadata: bool


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
        output_path(opening.target) as part,
        open_sink(
            part,
            printable(opening.target),
            opening.size,
            source.rate,
            source.time_base,
            opening.encoding,
            source=source,
            mark=opening.mark,
            metadata=opening.metadata,
        ) as sink,
    ):
        _tell([*notes_on(source), *sink.notes], report, bar)
        known, told = len(sink.notes), len(source.changes)
        decoded = report.timed_items("decode", source.read(sink.tracks.audio_to_decode), is_frame)
        with (
            report.ahead(decoded, "decode") as frames,
            report.ahead(fit_frames(frames, source, geometry, report), "fit") as ready,
            making(ready) as made,
        ):
            for item in made:
                with report.timed("encode", frames=int(isinstance(item, RgbFrame))):
                    sink.write(item)
                if isinstance(item, RgbFrame):
                    report.frames += 1
                    bar.advance()
                if len(source.changes) > told:  # from here on
                    _tell([f"{source.name} {clause}" for clause in source.changes[told:]], report, bar)
                    told = len(source.changes)
    _tell([*sink.notes[known:], *_final_notes(source)], report, bar)
    return sink


def is_frame(item: object) -> bool:
    """Whether a decoded item is a frame, and not sound or a packet."""
    return isinstance(item, Frame)


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
