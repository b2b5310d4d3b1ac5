"""`starcast video --jobs`: the films that a file of jobs asks for, all checked before the first is begun."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starcast.errors import OptionError, StarcastError, printable
from starcast.hold import hold_folder
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.video.film_maker import Look, look_of
from starcast.runtime.video.input.find_films import find_films
from starcast.runtime.video.many.interrupted import overwriting
from starcast.runtime.video.many.job_file import Job, Mistakes, read_jobs
from starcast.runtime.video.many.many_films import FilmsReport, Task, are_previews, check_tasks, make_films
from starcast.runtime.video.many.summary import Summary
from starcast.runtime.video.many.translate_many import film_paths, is_file_name
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import suffix_for
from starcast.runtime.video.output.sink import check_target


@dataclass(frozen=True)
class _Film:
    """A film of a job, before its place is known."""

    job: Job
    bundle: Bundle
    look: Look
    source: SourceFile


def run_jobs(
    path: Path,
    bundle_path: Path | None,
    output: str | None,
    given: Mapping[str, Any],
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmsReport:
    """Translate what a file of jobs asks for. The bundle is opened once for all of its jobs.

    `bundle_path`: of jobs that name none. `output`: the folder that the jobs' outputs are in; None: the file's own.
    `given`: options that hold for every job, whatever the file says. Raises OptionError with all mistakes in the file,
    and what `make_films` raises.
    """
    folder = path.parent if output is None else Path(output)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OptionError(f"{printable(folder)} is a file: give -o a folder for the videos")
    jobs, mistakes = read_jobs(path)
    planner = _Planner(mistakes, bundle_path, given, progress)
    if output is None:
        for job in jobs:
            if job.output is None:
                mistakes.add(f"job {job.number}", job.line, "it has no output: write `output: dogs/`, or give -o")
    films = [film for job in jobs for film in planner.films_of(job, folder)]
    tasks = list(_place(films, folder, mistakes))
    mistakes.raise_any()
    for line in planner.left_out:
        progress(line)
    check_tasks(tasks)
    watcher = None if are_previews(tasks) else Summary(folder, progress)
    with hold_folder(folder), overwriting(folder, tasks, [str(path)]) as since_ns:
        return make_films(tasks, watcher, since_ns=since_ns, progress=progress, show_progress=show_progress)


class _Planner:
    """Finds the films of jobs. What is wrong goes to `mistakes`. Bundles and looks are opened once."""

    def __init__(
        self,
        mistakes: Mistakes,
        bundle_path: Path | None,
        given: Mapping[str, Any],
        progress: Callable[[str], None],
    ) -> None:
        self.left_out: list[str] = []
        self._mistakes, self._bundle_path, self._given, self._progress = mistakes, bundle_path, given, progress
        self._bundles: dict[Path, Bundle | StarcastError] = {}
        self._looks: dict[tuple[str, VideoOptions], Look] = {}

    def films_of(self, job: Job, folder: Path) -> Iterator[_Film]:
        """The films of a job; none if something is wrong with it."""
        where, before = f"job {job.number}", len(self._mistakes.sentences)
        bundle = look = None
        try:
            options = VideoOptions(**{**job.options, **self._given})
            bundle = self._open(job)
            key = (bundle.sha256, options)
            if key not in self._looks:
                self._looks[key] = look_of(options, bundle.manifest, self._progress)
            look = self._looks[key]
        except StarcastError as error:
            self._mistakes.add(where, job.line, str(error))
        found = find_films(job.sources, leave_out=folder if folder.is_dir() else None)
        for problem in found.problems:
            self._mistakes.add(where, job.line, problem)
        for source in found.sources:
            if not source.path.exists():
                self._mistakes.add(where, job.line, f"{printable(source.path)} does not exist: check the path")
        if not found.sources and not found.problems:
            self._mistakes.add(where, job.line, found.nothing_in(job.sources))
        self.left_out += [line for line in found.left_out() if line not in self.left_out]
        if bundle is not None and look is not None and len(self._mistakes.sentences) == before:
            for source in found.sources:
                yield _Film(job, bundle, look, source)

    def _open(self, job: Job) -> Bundle:
        path = job.bundle or self._bundle_path
        if path is None:
            raise OptionError("it names no bundle: write `bundle: my-model` at the top of the file")
        if path not in self._bundles:
            try:
                self._bundles[path] = open_bundle(path)
            except StarcastError as error:
                self._bundles[path] = error
        bundle = self._bundles[path]
        if isinstance(bundle, StarcastError):
            raise bundle
        bundle.check_source()
        return bundle


def _place(films: list[_Film], folder: Path, mistakes: Mistakes) -> Iterator[Task]:
    """The tasks, in the order of the jobs. Films that share a folder get distinct names; two jobs that name one file
    are a mistake."""
    targets: dict[int, Path] = {}
    shared: dict[tuple[Path, str], list[int]] = {}
    counts: dict[int, int] = {}
    for film in films:
        counts[film.job.number] = counts.get(film.job.number, 0) + 1
    for index, film in enumerate(films):
        job = film.job
        place = "" if job.output is None else os.fspath(folder / job.output) + ("/" if job.output.endswith("/") else "")
        if place and is_file_name(place):
            targets[index] = Path(place)
            if counts[job.number] > 1:
                mistakes.add(
                    f"job {job.number}", job.line,
                    f"its output {printable(job.output)} is one video, but {counts[job.number]} would be written: name "
                    "a folder",
                )  # fmt: skip
        else:
            into = Path(place) if place else folder
            shared.setdefault((into, suffix_for(film.look.options.codec)), []).append(index)
    for (into, suffix), indices in shared.items():
        paths = film_paths([films[index].source for index in indices], into, suffix)
        targets |= dict(zip(indices, paths, strict=True))
    taken: dict[str, int] = {}
    for index, film in enumerate(films):
        target, number = targets[index], film.job.number
        name = unicodedata.normalize("NFC", os.path.abspath(target)).casefold()  # noqa: PTH100  links stay
        if name in taken:
            mistakes.add(
                f"job {number}", film.job.line,
                f"its output {printable(target)} is that of job {taken[name]}, too: name another",
            )  # fmt: skip
        taken.setdefault(name, number)
        try:
            check_target(target, film.source.path)
        except OptionError as error:
            mistakes.add(f"job {number}", film.job.line, str(error))
        yield Task(film.bundle, film.look, film.source.path, target)
