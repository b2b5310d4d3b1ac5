"""`starcast align` of a video: the square of the face in each frame, with the sound and at the frames' own times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from starcast.errors import OptionError, printable
from starcast.hold import hold
from starcast.images.fit import NATIVE, fit
from starcast.runtime.faces.detector import FAST
from starcast.runtime.faces.opening import open_face_files
from starcast.runtime.faces.options import AlignOptions
from starcast.runtime.faces.similarity import Matrix
from starcast.runtime.faces.video_advice import several_videos
from starcast.runtime.faces.warp import align
from starcast.runtime.folder.lists import LIST_SUFFIX
from starcast.runtime.folder.patterns import is_pattern
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.faces import ALIGN, FaceFrame, FilmFaces, find_faces, tell_faceless
from starcast.runtime.video.film_record import FilmRecord, is_done
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import Geometry
from starcast.runtime.video.input.failures import failures_of
from starcast.runtime.video.input.find_films import find_films
from starcast.runtime.video.input.source import open_film
from starcast.runtime.video.options import MAX_FRAME_PIXELS
from starcast.runtime.video.output.encode import settle
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.pipeline import Opening, write_film
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.memory import remember
from starcast.runtime.video.restart.parts import discard_parts, versions

if TYPE_CHECKING:
    from starcast.runtime.video.frames import Beside

STAGES = ("decode", "fit", ALIGN, "encode")
_FEW = 2  # whole frames between the stages of faces: they may be large


def _one_film(source: Path, target: Path) -> Path:
    """The video that a source names: a pattern or a list may name one, too. Raises OptionError for none or several."""
    is_list = source.suffix.lower() == LIST_SUFFIX and source.is_file()
    if not is_pattern(source) and not is_list:
        return source
    found = find_films([source])
    films = [film.path for film in found.sources]
    if len(films) > 1:
        raise OptionError(several_videos(source, films, target))
    if not films:
        raise OptionError(found.problems[0] if found.problems else f"{printable(source)} names no video: check it")
    return films[0]


def align_video(
    source_path: Path,
    target: Path,
    options: AlignOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """Write the aligned square of the largest face of each frame; `target`'s suffix decides the container.

    A frame without a face shows the place where it was last, or the middle. If `target` is that film already, only its
    record is written, where it is missing. Raises OptionError, CheckpointError, BundleError, EngineError, VideoError;
    then nothing is written.
    """
    source_path = _one_film(source_path, target)
    check_target(target, source_path)
    options = settle(options, target)
    report = FilmReport(target, dict.fromkeys(STAGES, 0.0))
    with open_face_files(options.landmarks, options.mean) as files, hold(target):
        record = FilmRecord(target, [source_path], None, options, [], files.facts)
        sight = files.sight(options.size, FAST)
        if is_done(record, target, report, overwrite=options.overwrite):
            discard_parts(record)
        else:
            with (
                open_film(source_path, min(options.max_pixels, MAX_FRAME_PIXELS)) as source,
                ProgressBar(source.frames, "frames", show=show_progress, progress=progress) as bar,
            ):
                for note in report.notes:
                    bar.print(note)
                faces = FilmFaces(
                    sight, options.size, source.rate, source.time_base, steady=options.steady, every=False
                )
                squares = Squares(options.size)
                opening = Opening(
                    target, (options.size,) * 2, options, record.mark, metadata=options.metadata,
                    origin={**record.identity, **versions()}, restart=options.restart,
                    memories={"faces": faces, "squares": squares},
                )  # fmt: skip
                making = partial(_aligning, faces=faces, squares=squares, report=report)
                geometry = Geometry(source.shown_size, NATIVE)
                sink = write_film(source, opening, geometry, making, report, bar)
                faceless = "they show the place where it was last, or the middle", "its frames show their middle"
                report.failed = [
                    *failures_of(source, sink.refused), *tell_faceless(source, report, *faceless, bar.print)
                ]  # fmt: skip
                for sentence in report.failed:
                    progress(sentence)
                counts = {
                    "frames": report.frames, "damaged": source.damaged + sink.refused, "without_face": report.faceless,
                }  # fmt: skip
                record.save({}, counts, report, progress)
    return report


@contextmanager
def _aligning(
    frames: Iterable[RgbFrame | Beside], faces: FilmFaces, squares: Squares, report: FilmReport
) -> Iterator[Iterator[RgbFrame | Beside]]:
    """The stage that cuts faces out of frames."""
    with report.ahead(squares.cut_out(find_faces(frames, faces, report)), ALIGN, _FEW) as cut_out:
        yield cut_out


class Squares:
    """The square of each frame, `size` pixels a side: a face, or the place where it was last, or the middle."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._matrix: Matrix | None = None

    def cut_out(self, items: Iterable[FaceFrame | Beside]) -> Iterator[RgbFrame | Beside]:
        for item in items:
            if not isinstance(item, FaceFrame):
                yield item
                continue
            frame = item.frame
            if item.faces:
                square, self._matrix = item.faces[0]
            elif self._matrix is not None:
                square = align(frame.pixels, self._matrix, self._size)
            else:
                square = fit(frame.pixels, (self._size, self._size), "crop")
            yield remember(replace(frame, pixels=square), "squares", self)

    def state(self) -> dict[str, NDArray[Any]]:
        return {} if self._matrix is None else {"matrix": self._matrix}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._matrix = state.get("matrix")
