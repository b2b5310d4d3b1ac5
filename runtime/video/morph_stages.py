"""The stages of a morph: its stops become frames, and those are encoded.

No batch and no stop goes beyond a segment, so that a morph that was interrupted makes the same frames as one that was
not (restart/segments.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from starcast.images.white import on_white
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.progress import ProgressBar
from starcast.runtime.stages import Batches, run_ahead
from starcast.runtime.translator import Translator
from starcast.runtime.video.frames import RgbFrame, Stored
from starcast.runtime.video.official import SLOWNESS
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.output.encode import DroppedFilm
from starcast.runtime.video.pipeline import Opening, open_output
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart import segments
from starcast.runtime.video.restart.memory import remember
from starcast.runtime.video.subjects import Still, Subject
from starcast.runtime.video.timeline.recursion import Recursion
from starcast.runtime.video.timeline.style_path import Stop

_NO_STYLE = np.empty(0, np.float32)


class Shown(NamedTuple):
    """A stop, and the number of the first frame that shows it."""

    stop: Stop
    begin: int

    @property
    def end(self) -> int:
        """The number of the frame behind its last one."""
        return self.begin + self.stop.frames


def rate_of(options: MorphOptions) -> Fraction:
    """Frames per second."""
    return options.rate / SLOWNESS if options.official else options.rate


def write_morph(
    subject: Subject,
    stops: Iterable[Stop],
    recursion: Recursion | None,
    opening: Opening,
    translator: Translator,
    options: MorphOptions,
    report: FilmReport,
    bar: ProgressBar,
) -> None:
    """Translate the stops, and write the film. `recursion` is for a Still, and one of the opening's memories."""
    rate = rate_of(options)
    with report.measured(), open_output(opening, rate, 1 / rate, bar) as (sink, parts):
        report.notes += sink.notes
        for note in (*sink.notes, *([parts.note] if parts.note else [])):
            bar.print(note)
        shown = split_at_segments(stops)
        if recursion is not None and isinstance(subject, Still):
            made = _translate_recursively(subject, shown, translator, recursion, report, parts.frames)
        else:
            made = _translate_stops(subject, shown, translator, options.batch or translator.batch, report, parts.frames)
        with report.ahead(made, "run") as frames:
            for frame in frames:
                with report.timed("encode", frames=int(isinstance(frame, RgbFrame))):
                    sink.write(frame)
                report.frames += 1
                report.stored += isinstance(frame, Stored)
                bar.advance()


def work_of_morph(subject: Subject, options: MorphOptions) -> Work:
    """The stages of `write_morph`, for measuring engines among them. What is encoded is dropped."""
    rate = rate_of(options)

    def translate(run: Run, batch: int) -> Iterator[NDArray[np.uint8]]:
        runs = (on_white(run(np.repeat(subject.sample, batch, axis=0))) for _ in itertools.count())
        images = itertools.chain.from_iterable(runs)
        while True:
            yield subject.frame(np.stack(list(itertools.islice(images, subject.count))), Stop(_NO_STYLE, 1))

    def rehearse(run: Run, batch: int) -> Generator[None]:
        with (
            DroppedFilm(subject.size, rate, 1 / rate, options) as film,
            run_ahead(translate(run, batch), "run") as translations,
        ):
            for number, pixels in enumerate(translations):
                film.write(pixels, number, 1)
                yield

    return Work("morph", rehearse, options.batch if options.recursion is None else 1)


def split_at_segments(stops: Iterable[Stop]) -> Iterator[Shown]:
    """The stops with their places in the film; one that goes beyond a segment is split there."""
    begin = 0
    for stop in stops:
        end = begin + stop.frames
        while begin < end:
            frames = min(end - begin, segments.SEGMENT_FRAMES - begin % segments.SEGMENT_FRAMES)
            yield Shown(replace(stop, frames=frames), begin)
            begin += frames


def _translate_stops(
    subject: Subject, shown: Iterable[Shown], translator: Translator, batch: int, report: FilmReport, stored: int
) -> Iterator[RgbFrame | Stored]:
    """The frames of the stops; images are made in batches of `batch`. Of the first `stored` frames, only the place."""

    def run(shown: Sequence[Shown]) -> Iterable[RgbFrame]:
        with report.timed("run", len(shown)):
            images = subject.images(translator, np.stack([stop.style for stop, _ in shown]), batch)
            parts = np.split(images, len(shown))
            pictures = [subject.frame(part, stop) for part, (stop, _) in zip(parts, shown, strict=True)]
        return (
            _frame(picture, number)
            for picture, one in zip(pictures, shown, strict=True)
            for number in range(one.begin, one.end)
        )

    batches = Batches(max(1, batch // subject.count), run, last=lambda one: _ends_segment(one.end - 1))
    for one in shown:
        if one.begin < stored:
            yield from itertools.repeat(Stored(), one.stop.frames)
        else:
            yield from batches.add(one)
    yield from batches.finish()


def _translate_recursively(
    subject: Still,
    shown: Iterable[Shown],
    translator: Translator,
    recursion: Recursion,
    report: FilmReport,
    stored: int,
) -> Iterator[RgbFrame | Stored]:
    """As `_translate_stops`, one frame at a time: each is the picture with the last frame mixed in, translated."""
    for one in shown:
        for number in range(one.begin, one.end):
            if number < stored:
                yield Stored()
                continue
            with report.timed("run"):
                picture: NDArray[np.uint8] = translator(recursion.mix(subject.sample[0], number), one.stop.style)
                recursion.remember(picture)
            yield remember(_frame(picture, number), "recursion", recursion)


def _frame(picture: NDArray[np.uint8], number: int) -> RgbFrame:
    return RgbFrame(picture, number, 1, ends_segment=_ends_segment(number))


def _ends_segment(number: int) -> bool:
    """Whether the frame with this number is the last of a segment."""
    return (number + 1) % segments.SEGMENT_FRAMES == 0
