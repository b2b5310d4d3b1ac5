"""`video --preview`: the first seconds and a contact sheet of the whole film, before the night is spent.

The sheet's moments are read by seeking. A style that was read off the first frame is theirs, too; what depends on the
frames before (recursion, smoothing, steady faces) sees only a few of them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starcast.errors import OptionError, VideoError, printable
from starcast.images.mark import read_mark as read_image_mark
from starcast.occupied import in_the_way
from starcast.runtime.encoding import CONTAINERS, NONE, is_sequence
from starcast.runtime.faces.sight import Sight
from starcast.runtime.marks import generated_mark, parse_mark
from starcast.runtime.progress import ProgressBar
from starcast.runtime.record import fingerprint
from starcast.runtime.source_styles import SourceStyles
from starcast.runtime.translator import Translator
from starcast.runtime.video.colour import to_rgb_and_alpha
from starcast.runtime.video.film_record import read_mark
from starcast.runtime.video.film_stages import stage_names, stages_of
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.input.film import Film, Frame
from starcast.runtime.video.input.film_view import FilmView
from starcast.runtime.video.input.orientation import make_pixels_square, turn_upright
from starcast.runtime.video.input.trim import Trimmed
from starcast.runtime.video.input.view import open_view
from starcast.runtime.video.model_stages import FilmModel
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.output.sink import cannot_be_written, check_target
from starcast.runtime.video.pipeline import Opening, write_film
from starcast.runtime.video.preview_sheet import Moment, style_at, write_sheet
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.segments import SEGMENT_FRAMES
from starcast.runtime.video.timeline.course import Course, FilmStyles
from starcast.runtime.video.timeline.recursion import recursion_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from starcast.runtime.video.input.film import Item

SECONDS = 3  # of the film that are shown
MOMENTS = 12  # on the sheet
WARM_UP = 12  # frames before a moment that are translated, too, where it depends on them
_MARK = generated_mark(fingerprint({"preview": "of a video"}))
_PLAYABLE = ("mp4", "mov")
_NUMBER = re.compile(r"[ _.-]*%0?\d*d")


class PreviewFiles:
    """The two files beside `target`, and how the film among them is encoded: as `target` if every player plays that,
    else as H.264 in MP4. `options`: the settled ones of `target`."""

    def __init__(self, target: Path, options: VideoOptions) -> None:
        container = None if is_sequence(target) else CONTAINERS.get(target.suffix.lower())
        self.is_alike = (
            container in _PLAYABLE and (options.codec, options.pixel_format) == ("h264", "yuv420p")
        )  # fmt: skip
        stem = _NUMBER.sub("", target.stem) or "video"
        self.film = target.with_name(f"{stem}.preview{target.suffix if self.is_alike else '.mp4'}")
        self.sheet = target.with_name(f"{stem}.preview.jpg")

    def check(self, source: Path) -> None:
        """Raise OptionError if a file of another origin is in the place of one."""
        check_target(self.film, source)
        if os.path.lexists(self.film) and read_mark(self.film) != _MARK:
            raise OptionError(in_the_way(self.film, "not a preview"))
        if os.path.lexists(self.sheet) and parse_mark(read_image_mark(self.sheet)) != _MARK:
            raise OptionError(in_the_way(self.sheet, "not a preview"))

    def encoding(self, options: VideoOptions) -> VideoOptions:
        """The options of `target` for the preview."""
        options = replace(options, restart=True)
        if self.is_alike:
            return options
        unset = replace(
            options, codec=None, crf=None, bitrate=None, preset=None, pixel_format=None, hardware=NONE, keep_alpha=False
        )
        return complete(unset, self.film)


@dataclass(frozen=True)
class Preview:
    """The preview of `source`, the view of the film at `path` that `options` ask for. `facts`: of the styles."""

    path: Path
    source: Film
    files: PreviewFiles
    options: VideoOptions
    course: Course
    facts: Sequence[Mapping[str, Any]]

    @property
    def frames(self) -> int:
        """How many frames of the film are shown first."""
        return self._beginning().frames

    def write(self, translator: Translator, styles: SourceStyles, sight: Sight | None, bar: ProgressBar) -> FilmReport:
        """Write both files. Raises what translating the whole film raises."""
        timeline = FilmStyles(styles, self.course, self.source.time_base, self.source.name)
        report = FilmReport(self.files.film, dict.fromkeys(stage_names(self.options), 0.0))
        report.notes += self.course.notes(self.source.duration_s)
        for note in report.notes:
            bar.print(note)
        before = translator.extra_cost
        stages = stages_of(self.source, self._model(translator, timeline), sight, self.options, report)
        opening = Opening(
            self.files.film, self.options.output_size(stages.geometry.output), self.options, _MARK.text,
            metadata=self.options.metadata, origin={"content": ""}, restart=True, memories=stages.memories,
        )  # fmt: skip
        write_film(self._beginning(), opening, stages.geometry, stages.making, report, bar)
        report.extra = translator.extra_cost.since(before)
        moments = [moment for at_s in self._times() if (moment := self._show(at_s, translator, timeline, sight))]
        try:
            write_sheet(self.files.sheet, moments, _MARK.text)
        except OSError as error:
            raise cannot_be_written(printable(self.files.sheet), error) from error
        lines = [f"{printable(self.files.sheet)}: {len(moments)} moments of the video.", *self._estimates(report)]
        for line in lines:
            bar.print(line)
        return report

    def _model(self, translator: Translator, timeline: FilmStyles) -> FilmModel:
        source = self.source
        recursion = recursion_of(self.options, source.rate, source.duration_s, source.time_base)
        return FilmModel(translator, timeline, recursion)

    def _beginning(self) -> Trimmed:
        """The first seconds, in less than a segment: no part of them is worth keeping."""
        shown_s = self.source.begins_s + min(Fraction(SECONDS), Fraction(SEGMENT_FRAMES - 1) / self.source.rate)
        return Trimmed(self.source, Fraction(0), min(shown_s, self.source.lasts_s or shown_s))

    def _times(self) -> list[Fraction]:
        """The moments, in the middle of equal parts of the film; of its first seconds if its duration is unknown."""
        lasts_s = self.source.duration_s or Fraction(SECONDS)
        count = min(MOMENTS, self.source.frames or MOMENTS)
        return [lasts_s * (2 * number + 1) / (2 * count) for number in range(count)]

    def _show(self, at_s: Fraction, translator: Translator, timeline: FilmStyles, sight: Sight | None) -> Moment | None:
        """A moment of the film; None if the film has no frame there: it is damaged, or shorter than it states."""
        options = self.options
        needs_past = options.recursion is not None or options.smooth > 0 or options.align
        scratch = FilmReport(self.files.sheet, {})
        with open_view(self.path, options) as again:
            part = _Around(again, at_s, WARM_UP if needs_past else 0)
            stages = stages_of(part, self._model(translator, timeline), sight, options, scratch)
            with (
                closing(part.read()) as items,
                closing(_generator(fit_frames(items, part, stages.geometry, scratch))) as ready,
                stages.making(ready) as made,
                contextlib.suppress(VideoError),
            ):
                frames = [item.pixels for item in made if isinstance(item, RgbFrame)]
            if part.shown is None:
                return None
            return Moment(at_s, style_at(self.course, self.facts, at_s), _upright(part.shown, again), frames[-1])

    def _estimates(self, report: FilmReport) -> Iterator[str]:
        """What the whole film would take, at the rate of its first seconds."""
        if not self.source.frames or not report.wall_s or not report.frames:
            return
        text = f"The whole video has {self.source.frames} frames"
        text += f" and would take about {_shown(self.source.frames * report.wall_s / report.frames)}"
        if self.files.is_alike:
            size = self.files.film.stat().st_size * self.source.frames / report.frames
            text += f" and {size / 1e6:.3g} MB"
        yield f"{text}. Give the same command without --preview to translate it."


class _Around(FilmView):
    """Of `film`, the frame that is shown at a time, and up to `before` frames before it. Nothing else of the file."""

    def __init__(self, film: Film, at_s: Fraction, before: int) -> None:
        super().__init__(film)
        self._at_s, self._from_s = at_s, max(Fraction(0), at_s - before / film.rate)
        self.shown: Frame | None = None

    def read(self, audio_to_decode: Set[int] = frozenset()) -> Generator[Item]:
        self.film.seek(max(Fraction(0), self._from_s - 1 / self.film.rate))  # bwdif looks at the frame before, too
        with closing(_generator(self.film.read())) as items:
            waiting: Frame | None = None  # it is shown until the next one
            for item in items:
                if not isinstance(item, Frame):
                    continue
                time_s = item.pts * self.film.time_base
                if waiting is not None and time_s > self._from_s:
                    self.shown = waiting
                    yield waiting
                waiting = item
                if time_s > self._at_s and self.shown is not None:
                    return
            if waiting is not None:
                self.shown = waiting
                yield waiting


def _upright(frame: Frame, film: Film) -> Any:
    pixels, _ = to_rgb_and_alpha(frame.frame, film.name, None, film.stated)
    return turn_upright(make_pixels_square(pixels, frame.square_size), frame.orientation)


def _generator(items: Any) -> Any:
    yield from items


def _shown(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
