"""A film's two notes of where it comes from: the mark in its metadata, and the record beside it.

The film is renamed into place first, its record is written second. A process killed between the two leaves a film
without its record, or with that of the film before it. The same command, given again, knows the film by its mark, and
writes the record instead of the film.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import av

from starcast.errors import OptionError, printable, reason_of
from starcast.images.mark import read_mark as read_image_mark
from starcast.occupied import OVERWRITE, already
from starcast.options import CheckedOptions, flat_fields
from starcast.runtime.bundle import Bundle
from starcast.runtime.encoding import ANIMATIONS, SEQUENCES, EncodingOptions, image_at, images_of, is_sequence
from starcast.runtime.folder.places import modified_ns
from starcast.runtime.marks import Mark, Origin, generated_mark, parse_mark
from starcast.runtime.record import fingerprint, read_runs, record_beside, run_facts, style_identity, write_record
from starcast.runtime.seed_lists import parse_seeds
from starcast.runtime.video.input.sequence_files import files_of
from starcast.runtime.video.input.standard_input_file import is_spooled
from starcast.runtime.video.options import MorphOptions
from starcast.runtime.video.output.animation_mark import count_images, read_animation_mark
from starcast.runtime.video.output.codecs import complete
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.statistics import statistics_of

MARK = "handler_name"  # of the video stream: the one text that MP4, MOV and Matroska keep beside any other metadata
# one engine is as good as another, and paths say nothing of the pixels
_NOT_IN_THE_MARK = (
    "landmarks", "mean",  # `faces` has these files' hashes
    "output", "format", "quality",  # of align, for images
    "overwrite", "backend", "threads", "memory", "batch", "max_pixels", "ref", "refs",
    "restart", "preview", "statistics",
    "style_keys",  # the styles have what it says
)  # fmt: skip
# options that count in every mark; all others only if they are changed, so that an option that a later version adds
# leaves the marks of existing films as they are
_ALWAYS = ("crf", "preset", "precision", "psi", "fit", "domain", "seed", "size")
_ALWAYS_OF_MORPH = ("seeds", "fps", "frames_per_step")
# what an option that is left open becomes in the films that earlier versions wrote (`codecs.complete`)
_FILLED_IN = {"codec": "h264", "pixel_format": "yuv420p"}
_IN_THE_STYLES = ("set", "unset", "flip", "has", "labels")


class FilmRecord:
    """The record of the film that a command writes to `target`. `sources` is empty if it is made from styles alone,
    `bundle` None if none made it. `styles` and `faces` as in `write_record`."""

    def __init__(
        self,
        target: Path,
        sources: Sequence[Path],
        bundle: Bundle | None,
        options: EncodingOptions,
        styles: Sequence[Mapping[str, Any]],
        faces: Mapping[str, str] | None = None,
    ) -> None:
        options = complete(options, target)
        self.path = record_beside(target)
        self.target = target
        files = [file for path in sources for file in files_of(path)]
        self._origin = Origin(*files, named=sources) if sources else None
        self._sources = ["-" if is_spooled(path) else str(path) for path in sources]
        self._save = partial(write_record, self.path, bundle, options, styles, sources=self._sources, faces=faces)
        self._usual = _usual(options)
        self.sources = sources
        self._settings = _settings_of(run_facts(bundle, options, styles, self._sources, faces), self._usual)

    @cached_property
    def mark(self) -> str:
        """The line for the film's metadata. Reads the sources from start to end."""
        if self._origin is None:
            return generated_mark(self._settings).text
        return Mark(settings=self._settings, content=self._origin.content, place=self._origin.place).text

    def why_in_the_way(self) -> str | None:
        """What is at the target that was not made with these settings, as a clause; None for a film that was, whatever
        its source, and if nothing is there. Reads no source."""
        if not os.path.lexists(image_at(self.target, 1)):
            return None
        there = read_mark(self.target)
        if there is None:
            return "not written by starcast"
        return None if there.settings == self._settings else "made with a different bundle, style or options"

    def is_of_edited_source(self) -> bool:
        """Whether the target is the film that this command made from the same source, before that was edited."""
        there = read_mark(self.target)
        if there is None or there.settings != self._settings or self._origin is None:
            return False
        return not self._origin.matches(there) and self._origin.was_edited_since(there)

    def refuse_foreign_images(self) -> None:
        """Raise OptionError if an image of the sequence is there that a run of this command did not leave."""
        for image in images_of(self.target):
            there = parse_mark(read_image_mark(image))
            if there is None or there.settings != self._settings:
                raise OptionError(already(image, "exists", OVERWRITE))

    @property
    def identity(self) -> dict[str, str]:
        """What decides over the film: a hash of the settings, and one of the sources; "" if they cannot be read twice.
        Reads the sources from start to end."""
        mark = parse_mark(self.mark)
        return {"settings": self._settings, "content": "" if mark is None else mark.content}

    def is_there(self) -> bool:
        """Whether the target is the film that this command would make. Its record is written if it is missing or tells
        of another film; it omits the engine, which is not known any more. Raises OptionError if that fails."""
        there = read_mark(self.target)
        if there is None or there.settings != self._settings:
            return False
        if self._origin is not None and not self._origin.matches(there):
            return False
        runs = read_runs(self.path)
        if not runs or _settings_of(runs[-1], self._usual) != self._settings:
            counts = {"frames": count_frames(self.target)}
            try:
                self._save(engine={}, counts=counts)
            except OSError as error:
                raise OptionError(
                    f"{printable(self.target)} is there already, but its record {printable(self.path.name)} cannot be "
                    f"written ({reason_of(error)}): give the same command again once it can"
                ) from error
        return True

    def save(
        self,
        engine: Mapping[str, str],
        counts: Mapping[str, int],
        report: FilmReport,
        progress: Callable[[str], None],
        has: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Write the record of the film that was just written; `has` are the labels that were read of its source. If
        that fails, the film stays and a line says so."""
        try:
            self._save(engine=engine, counts=counts, has=has, statistics=statistics_of(report))
        except (OSError, OptionError) as error:
            report.failed.append(
                f"{printable(self.target)} is complete, but its record {printable(self.path.name)} cannot be written "
                f"({reason_of(error)}): give the same command again once it can"
            )
            progress(report.failed[-1])


def is_done(
    record: FilmRecord, target: Path, report: FilmReport, *, overwrite: bool, since_ns: int | None = None
) -> bool:
    """Whether the film at `target` is the wanted one, so that nothing is left to do. A film whose source was edited is
    to be made again, which the report's notes say. With `overwrite`, so is every film that was written before
    `since_ns`, the start of the interrupted run that goes on. Raises OptionError if something else is there that must
    not be overwritten."""
    first = image_at(target, 1)
    if overwrite and (since_ns is None or modified_ns(first) < since_ns):
        return False
    if not os.path.lexists(first):
        record.refuse_foreign_images()
        return False
    report.is_there_already = record.is_there()
    if report.is_there_already or overwrite:
        return report.is_there_already
    if not record.is_of_edited_source():
        raise OptionError(already(target, "exists", OVERWRITE))
    [source, *others] = record.sources
    edited = f"a source of {printable(target)}" if others else printable(source)
    report.notes.append(f"{edited} was edited since {printable(target.name)} was made: it is made again")
    return False


def read_mark(path: Path) -> Mark | None:
    """The mark of a film; None if it has none of ours, or is no film."""
    if is_sequence(path):
        path = image_at(path, 1)
    if not path.is_file():
        return None
    if path.suffix.lower() in SEQUENCES and (image := read_image_mark(path)) is not None:
        return parse_mark(image)
    if path.suffix.lower() in ANIMATIONS:
        return parse_mark(read_animation_mark(path))
    try:
        with _open(path) as container:
            streams = container.streams.video
            metadata = {key.lower(): text for key, text in streams[0].metadata.items()} if streams else {}
    except (av.FFmpegError, OSError):
        return None
    return parse_mark(metadata.get(MARK))


def count_frames(path: Path) -> int:
    """How many frames a film has. Reads it from start to end."""
    if is_sequence(path):
        return next(number for number in itertools.count() if not image_at(path, number + 1).is_file())
    if path.suffix.lower() in ANIMATIONS:
        return count_images(path)
    with _open(path) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def _settings_of(run: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """A hash of what a record's run says of a film's look: equal for commands whose films may replace each other.
    Options that have their `usual` value do not count."""
    bundle, options, styles = (run.get(key) for key in ("bundle", "options", "styles"))
    return fingerprint({
        "bundle": bundle.get("sha256") if isinstance(bundle, dict) else None,
        "options": _without(_as_earlier_versions_wrote(options), (*_NOT_IN_THE_MARK, *_IN_THE_STYLES), usual),
        "styles": [style_identity(style) if isinstance(style, dict) else style for style in styles]
        if isinstance(styles, list) else None,
        **({"faces": run["faces"]} if "faces" in run else {}),
    })  # fmt: skip


def _usual(options: CheckedOptions) -> dict[str, Any]:
    """The values of options that count only if they are changed."""
    always = (*_ALWAYS, *_ALWAYS_OF_MORPH) if isinstance(options, MorphOptions) else _ALWAYS
    unset = {field.name: field.default for field, _ in flat_fields(type(options)) if field.name not in always}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in unset.items()}
    return plain | _FILLED_IN


def _without(facts: Any, names: Sequence[str], usual: Mapping[str, Any]) -> Any:
    if not isinstance(facts, dict):
        return facts
    return {
        name: value
        for name, value in facts.items()
        if name not in names and not (name in usual and usual[name] == value)
    }


def _as_earlier_versions_wrote(options: Any) -> Any:
    return _with_plain_rate(_with_each_seed(options))


def _with_each_seed(options: Any) -> Any:
    """Options in which `1-3` stands as `1,2,3` does, as earlier versions wrote it."""
    seeds = options.get("seeds") if isinstance(options, dict) else None
    if not isinstance(seeds, list) or not all(isinstance(part, str) for part in seeds):
        return options
    try:
        return {**options, "seeds": [str(seed) for seed in parse_seeds(seeds, "--seeds")]}
    except OptionError:  # a record that was changed
        return options


def _with_plain_rate(options: Any) -> Any:
    """Options in which `--fps 30` stands as 30.0, as earlier versions wrote it; ratios stay."""
    rate = options.get("fps") if isinstance(options, dict) else None
    if not isinstance(rate, str):
        return options
    try:
        return {**options, "fps": float(rate)}
    except ValueError:
        return options


def _open(path: Path) -> Any:
    only_films = {"format_whitelist": "mov,matroska", "protocol_whitelist": "file"}
    return av.open(os.path.realpath(path), container_options=only_films)
