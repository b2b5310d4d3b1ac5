"""`starcast video` of one film: a file in, a file out, with the sound and with every frame in order, at its own time.

film_maker.py opens what all films of a bundle share, and pipeline.py shows the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starcast.runtime.bundle import open_bundle
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.film_maker import FilmMaker, look_of
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.sink import check_target
from starcast.runtime.video.report import FilmReport


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
    look = look_of(options, bundle.manifest, progress)

    def open_bar(frames: int) -> ProgressBar:
        return ProgressBar(frames, "frames", show=show_progress, progress=progress)

    with FilmMaker(bundle, [look], progress) as maker:
        return maker.make(look, source_path, target, open_bar)
