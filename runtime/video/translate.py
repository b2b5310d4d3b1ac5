"""`starcast video`: a file in, an H.264 file out, with the sound and with every frame in order, at its own time.

    decode            fit                          run             encode
    Film.read    ->   RGB, upright, model's size   ->  engine  ->  Sink.write

The first three stages run in separate threads, each a few frames ahead of the next; the last runs in the caller's.
Packets of sound travel in the same queues. The queues limit how many frames are in memory at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from starcast.atomic import atomic_path
from starcast.errors import OptionError, VideoError, printable
from starcast.hold import hold
from starcast.images.fit import NATIVE, fit
from starcast.runtime.bundle import open_bundle
from starcast.runtime.encoding import EncodingOptions
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.faces.align_flag import align_references, open_faces
from starcast.runtime.faces.detector import FAST
from starcast.runtime.faces.sight import Sight
from starcast.runtime.manifest import Manifest
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import style_facts
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.stages import Batches, batched_among, run_ahead
from starcast.runtime.style_requests import StyleRequest, graphs_for, requests_from
from starcast.runtime.translator import Translator
from starcast.runtime.video import colour
from starcast.runtime.video.advice import DEINTERLACE, ffmpeg_line
from starcast.runtime.video.encode import DroppedFilm
from starcast.runtime.video.faces import (
    ALIGN,
    PUT_BACK,
    FilmFaces,
    find_faces,
    put_faces_back,
    tell_faceless,
    translate_faces,
)
from starcast.runtime.video.failures import failures_of
from starcast.runtime.video.film import Film, Frame, Sound
from starcast.runtime.video.film_record import FilmRecord, is_done
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.orientation import make_pixels_square, turn_upright
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.sink import RgbFrame, Sink, check_target
from starcast.runtime.video.source import open_film

if TYPE_CHECKING:
    from av.packet import Packet

    from starcast.runtime.video.film import Item

    Beside = Sound | Packet[Any]  # what travels with the frames
    Making = Callable[[Iterable[RgbFrame | Beside]], AbstractContextManager[Iterator[RgbFrame | Beside]]]

STAGES = ("decode", "fit", "run", "encode")
FACE_STAGES = ("decode", "fit", ALIGN, "run", PUT_BACK, "encode")
_FEW = 2  # whole frames between the stages of faces: they may be large


def translate_video(
    bundle_path: Path,
    source_path: Path,
    target: Path,
    options: VideoOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """Translate the frames of a video in one style; `target`'s suffix decides the container.

    If `target` is that film already, only its record is written, where it is missing.

    Sound and subtitles are copied if the container accepts them. A source that is damaged or cut short is translated as
    far as it can be decoded, and the report's `failed` says so. `progress` gets the lines that a user should see.
    Raises OptionError, StyleError, BundleError, EngineError, VideoError; then nothing is written.
    """
    check_target(target, source_path)
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    request = _one_style(options, bundle.manifest, progress)
    report = FilmReport(target, dict.fromkeys(FACE_STAGES if options.align else STAGES, 0.0))
    with open_faces(options, bundle) as faces, hold(target):
        facts = None if faces is None else faces.facts
        record = FilmRecord(target, [source_path], bundle, options, style_facts([request]), facts)
        if not is_done(record, target, report, overwrite=options.overwrite):
            with (
                open_film(source_path, options.max_pixels) as source,
                Translator(
                    bundle,
                    **options.engine,
                    work=_work(source_path, bundle.manifest, options),
                    progress=progress,
                    beside=graphs_for([request], bundle.manifest.condition),
                ) as translator,
                ProgressBar(source.frames, "frames", show=show_progress, progress=progress) as bar,
            ):
                side = translator.size[0]
                sight = None if faces is None else faces.sight(side, FAST, translator=translator)
                styles = SourceStyles([request], translator, bar.print, align_references(sight, side, bar.print))
                before = translator.extra_cost
                sink = _write(source, target, translator, styles, sight, options, record.mark, report, bar)
                report.extra = translator.extra_cost.since(before)
                unchanged = "they are written unchanged", "its frames are written unchanged"
                report.failed = [
                    *failures_of(source, sink.refused), *tell_faceless(source, report, *unchanged, bar.print)
                ]  # fmt: skip
                for sentence in report.failed:
                    progress(sentence)
                counts = {"frames": report.frames, "damaged": source.damaged + sink.refused}
                if options.align:
                    counts["without_face"] = report.faceless
                record.save(translator.facts(), counts, report, progress, styles.has)
    return report


def _write(
    source: Film,
    target: Path,
    translator: Translator,
    styles: SourceStyles,
    sight: Sight | None,
    options: VideoOptions,
    mark: str,
    report: FilmReport,
    bar: ProgressBar,
) -> Sink:
    # frames may change size mid-stream; the size of the output does not
    mode = NATIVE if options.align else options.fit
    size = source.shown_size if mode == NATIVE else translator.size
    reason = translator.why_not(*(translator.size if options.align else size))
    if reason is not None:
        raise VideoError(f"{source.name} has frames of {size[1]}x{size[0]} pixels: {reason}")
    making = _translating if sight is None else partial(_translating_faces, sight=sight)
    translating = partial(making, film=source, translator=translator, styles=styles, options=options, report=report)
    opening = Opening(target, size, options, mark, metadata=options.metadata)
    return write_film(source, opening, size, mode, translating, report, bar)


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
    fitted: tuple[int, int],
    mode: str,
    making: Making,
    report: FilmReport,
    bar: ProgressBar,
) -> Sink:
    """Read `source`, fit its frames to `fitted` as `mode` says, make other frames of them, and write those with the
    sound. `making` opens the stages between; frames and packets go through it."""
    start = time.perf_counter()
    with (
        atomic_path(opening.target) as part,
        Sink(
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
        _tell([*_notes(source), *sink.notes], report, bar)
        known, was_interlaced = len(sink.notes), source.interlaced
        decoded = report.timed_items("decode", source.read(sink.tracks.audio_to_decode))
        with (
            run_ahead(decoded, "decode") as frames,
            run_ahead(_fit_frames(frames, source, fitted, mode, report), "fit") as ready,
            making(ready) as made,
        ):
            for item in made:
                with report.timed("encode"):
                    sink.write(item)
                if isinstance(item, RgbFrame):
                    report.frames += 1
                    bar.advance()
                if source.interlaced and not was_interlaced:  # from here on
                    was_interlaced = True
                    _tell([_interlaced_note(source)], report, bar)
    _tell([*sink.notes[known:], *_final_notes(source)], report, bar)
    report.wall_s = time.perf_counter() - start
    return sink


@contextmanager
def _translating(
    frames: Iterable[RgbFrame | Beside], film: Film, translator: Translator, styles: SourceStyles,
    options: VideoOptions, report: FilmReport,
) -> Iterator[Iterator[RgbFrame | Beside]]:  # fmt: skip
    """The stage that translates whole frames."""
    run, batch = _in_one_style(translator, styles, film.name), options.batch or translator.batch
    with run_ahead(_translate_frames(frames, run, batch, report), "run") as translations:
        yield translations


@contextmanager
def _translating_faces(
    frames: Iterable[RgbFrame | Beside], film: Film, translator: Translator, styles: SourceStyles,
    options: VideoOptions, report: FilmReport, sight: Sight,
) -> Iterator[Iterator[RgbFrame | Beside]]:  # fmt: skip
    """The stages that find the faces in frames, translate them, and put them back."""
    run, batch = _in_one_style(translator, styles, film.name), options.batch or translator.batch
    faces = FilmFaces(
        sight, translator.size[0], film.rate, film.time_base, steady=options.steady, every=options.faces == "all"
    )
    with (
        run_ahead(find_faces(frames, faces, report), ALIGN, _FEW) as found,
        run_ahead(translate_faces(found, run, batch, report), "run", _FEW) as translated,
        run_ahead(put_faces_back(translated, report), PUT_BACK, _FEW) as translations,
    ):
        yield translations


def _in_one_style(translator: Translator, styles: SourceStyles, name: str) -> Run:
    """Translates frames in the style that the first of them asks for."""
    style: NDArray[np.float32] | None = None

    def translate(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        nonlocal style
        if style is None:
            [style] = styles.make(frames[0], name)
        return translator(frames, style)

    return translate


def _work(source_path: Path, manifest: Manifest, options: VideoOptions) -> Work:
    """The stages of `_write` on the first frames, for measuring engines among them. What is encoded is dropped."""
    size = (manifest.source.height, manifest.source.width) if manifest.source is not None else (0, 0)

    def rehearse(run: Run, batch: int) -> Generator[None]:
        report = FilmReport(source_path, dict.fromkeys(STAGES, 0.0))
        mode = "crop" if options.fit == NATIVE else options.fit
        with (
            open_film(source_path, options.max_pixels) as source,
            DroppedFilm(size, source.rate, source.time_base, options) as film,
            run_ahead(source.read(set()), "decode") as frames,
            run_ahead(_fit_frames(frames, source, size, mode, report), "fit") as ready,
            run_ahead(_translate_frames(ready, run, batch, report), "run") as translations,
        ):
            for item in translations:
                if isinstance(item, RgbFrame):
                    film.write(item.pixels, item.pts, item.duration)
                    yield

    def rehearse_drawn(run: Run, batch: int) -> Generator[None]:
        report = FilmReport(source_path, dict.fromkeys(STAGES, 0.0))
        with (
            DroppedFilm(size, Fraction(25), Fraction(1, 25), options) as film,
            run_ahead(_draw_frames(size), "fit") as ready,
            run_ahead(_translate_frames(ready, run, batch, report), "run") as translations,
        ):
            for item in translations:
                if isinstance(item, RgbFrame):
                    film.write(item.pixels, item.pts, item.duration)
                    yield

    # what comes through a pipe can be read only once
    return Work("video", rehearse if source_path.is_file() else rehearse_drawn, options.batch)


def _draw_frames(size: tuple[int, int]) -> Iterator[RgbFrame]:
    """A film without end."""
    random = np.random.default_rng(0)
    for number in itertools.count():
        yield RgbFrame(random.integers(0, 256, (*size, 3), np.uint8), number, 1)


def _tell(notes: Sequence[str], report: FilmReport, bar: ProgressBar) -> None:
    report.notes += notes
    for note in notes:
        bar.print(note)


def _one_style(options: VideoOptions, manifest: Manifest, progress: Callable[[str], None]) -> StyleRequest:
    requests = requests_from(
        options, manifest.domains, labels=manifest.condition.only_labels, progress=progress, several=False
    )
    if len(requests) != 1:
        raise OptionError(
            f"a video gets one style, but {len(requests)} were asked for: give one --domain"
            f"{' and one --seed or --ref' if manifest.condition.only_labels is None else ', or --set'}"
        )
    if options.faces == "all" and requests[0].depends_on_source:
        raise OptionError(
            "with --faces all, a video's faces would all get the attributes of the first one: give --has, or leave "
            "out --faces all"
        )
    return requests[0]


def _fit_frames(
    items: Iterable[Item], source: Film, size: tuple[int, int], mode: str, report: FilmReport
) -> Iterator[RgbFrame | Beside]:
    """Frames as RGB, upright, with square pixels, fitted to `size` as `mode` says."""
    scaler = VideoReformatter()
    for item in items:
        if not isinstance(item, Frame):
            yield item
            continue
        with report.timed("fit"):
            pixels = colour.to_rgb(item.frame, source.name, scaler, source.stated)
            pixels = turn_upright(make_pixels_square(pixels, item.square_size), item.orientation)
            ready = RgbFrame(_fit_frame(pixels, size, mode), item.pts, item.duration)
        yield ready


def _fit_frame(pixels: NDArray[np.uint8], size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    """One frame, fitted as `mode` says. A native frame that no longer has the first one's size is scaled, and gets
    black margins if its aspect is another: circles stay round."""
    if mode == NATIVE:
        (rows, columns), (height, width) = pixels.shape[:2], size
        mode = "stretch" if abs(rows * width - columns * height) <= max(rows, columns, *size) else "pad"
    return fit(pixels, size, mode)


def _translate_frames(
    items: Iterable[RgbFrame | Beside],
    translate: Run,
    batch: int,
    report: FilmReport,
) -> Iterator[RgbFrame | Beside]:
    """Frames translated in order, in batches of `batch`. Packets may overtake them, because the muxer sorts."""

    def run(frames: Sequence[RgbFrame]) -> Iterable[RgbFrame]:
        with report.timed("run"):
            translations = translate(np.stack([frame.pixels for frame in frames]))
        return (RgbFrame(pixels, frame.pts, frame.duration) for frame, pixels in zip(frames, translations, strict=True))

    return batched_among(items, RgbFrame, Batches(batch, run))


def _notes(source: Film) -> Sequence[str]:
    notes = [f"{source.name} {clause}" for clause in source.changes]
    if source.interlaced:
        notes.append(_interlaced_note(source))
    if source.other_programmes:
        streams = ", ".join(f"{stream.type} {stream.index}" for stream in source.other_programmes)
        notes.append(f"{source.name} holds several programmes: one is translated, and the streams of the others are "
                     f"left out ({streams})")  # fmt: skip
    return notes


def _final_notes(source: Film) -> Sequence[str]:
    zeros = source.zeros_at_end
    return [f"{source.name} ends in {zeros} zero bytes, which hold no video"] if zeros else []


def _interlaced_note(source: Film) -> str:
    line = ffmpeg_line(DEINTERLACE, sound=source.sound_advice, video=source.index)
    return (
        f"{source.name} is interlaced, so comb artefacts may show: for the best result deinterlace it first with {line}"
    )
