"""`starcast video` of several films, or of those in folders and lists: where each goes, and in which style."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from starcast.errors import OptionError, printable
from starcast.hold import hold_folder
from starcast.images import formats
from starcast.path_types import name_in
from starcast.runtime.bundle import open_bundle, refuse_to_write_into
from starcast.runtime.folder.names import output_paths
from starcast.runtime.folder.outputs import FILM_SUFFIXES, refuse_source_folder
from starcast.runtime.folder.sources import SourceFile
from starcast.runtime.video.film_maker import look_of
from starcast.runtime.video.input.find_films import find_films
from starcast.runtime.video.many.interrupted import overwriting
from starcast.runtime.video.many.many_films import FilmsReport, Task, check_tasks, make_films
from starcast.runtime.video.many.summary import Summary
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.codecs import suffix_for
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.translate import translate_video


def translate_videos(
    bundle_path: Path,
    sources: Sequence[Path],
    output: str,
    options: VideoOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport | FilmsReport:
    """Translate the films that `sources` name into the folder `output`, which keeps the layout of the folders.

    A single film may also go to a file. Films that fail are listed at the end, and the rest goes on. Raises OptionError
    (nothing to translate, an output that cannot be used), StyleError, BundleError, EngineError.
    """
    folder = Path(output)
    refuse_source_folder(sources, folder)
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    found = find_films(sources, leave_out=folder if folder.is_dir() else None)
    for line in (*found.problems, *found.left_out()):
        progress(line)
    if not found.sources:
        raise OptionError(found.nothing_in(sources))
    if is_file_name(output):
        if len(found.sources) > 1:
            raise OptionError(
                f"{printable(output)} is one video, but {len(found.sources)} would be written: give -o the name of a "
                "folder"
            )
        report = translate_video(
            bundle_path, found.sources[0].path, folder, options, progress=progress, show_progress=show_progress
        )
        report.failed += found.problems
        return report
    refuse_to_write_into(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OptionError(f"{printable(folder)} is a file: give -o a folder for the videos")
    look = look_of(options, bundle.manifest, progress)
    places = film_paths(found.sources, folder, suffix_for(options.codec))
    tasks = [Task(bundle, look, source.path, target) for source, target in zip(found.sources, places, strict=True)]
    check_tasks(tasks)
    watcher = None if options.preview else Summary(folder, progress)
    with hold_folder(folder), overwriting(folder, tasks, [str(source) for source in sources]) as since_ns:
        many = make_films(tasks, watcher, since_ns=since_ns, progress=progress, show_progress=show_progress)
    many.problems = list(found.problems)
    return many


def film_paths(sources: Sequence[SourceFile], folder: Path, suffix: str) -> list[Path]:
    """Where the translation of each source goes, below `folder`: no two paths are equal."""
    return [path for (path,) in output_paths(sources, ["video"], folder, suffix)]


def is_file_name(output: str) -> bool:
    """Whether an output names a file, and not a folder that is there or ends as one."""
    suffix = Path(output).suffix.lower()
    return name_in(output, "x") == Path(output) and (suffix in FILM_SUFFIXES or formats.has_image_suffix(suffix))
