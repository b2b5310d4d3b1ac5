"""`starcast video BUNDLE -`: the video comes from standard input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starcast.errors import OptionError, printable
from starcast.runtime.bundle import open_bundle
from starcast.runtime.folder.standard_streams import STDIN, is_terminal, naming
from starcast.runtime.video.film_maker import look_of
from starcast.runtime.video.input.standard_input_file import spooled
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.translate import translate_video


def translate_standard_input(
    bundle_path: Path,
    target: Path,
    options: VideoOptions,
    *,
    progress: Callable[[str], None] = print,
    show_progress: bool = False,
) -> FilmReport:
    """`translate_video` of standard input, which is kept in a file beside `target` meanwhile. Raises what that does."""
    if is_terminal(0):
        raise OptionError(
            "standard input is a terminal, and - reads a video from it: pipe a video into it, or give a file"
        )
    check_target(target, None)  # what is wrong is said before a long film is read
    bundle = open_bundle(bundle_path)
    bundle.check_source()
    look_of(options, bundle.manifest, lambda _: None)
    parent = target.resolve().parent
    place = next(folder for folder in (parent, *parent.parents) if folder.is_dir())
    with spooled(place, progress) as path, naming({printable(path): STDIN}) as name:
        report = translate_video(
            bundle_path, path, target, options, progress=lambda line: progress(name(line)), show_progress=show_progress
        )
        report.notes, report.failed = list(map(name, report.notes)), list(map(name, report.failed))
    return report
