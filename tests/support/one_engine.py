"""Makes many films with one engine, which is opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starcast.runtime.bundle import open_bundle
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.film_maker import FilmMaker, look_of
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.report import FilmReport


@contextmanager
def one_engine(bundle_path: Path) -> Iterator[Callable[..., FilmReport]]:
    """translate(source, target, **options): the report of a film."""
    bundle = open_bundle(bundle_path)

    def look(**options: Any) -> Any:
        settings = VideoOptions(domain="dog", psi=0.0, backend="onnxruntime", threads=1, **options)
        return look_of(settings, bundle.manifest, ignore)

    def translate(source: Path, target: Path, **options: Any) -> FilmReport:
        return maker.make(look(**options), source, target, open_bar)

    with FilmMaker(bundle, [look()], ignore) as maker:
        yield translate


def ignore(line: str) -> None:
    pass


def open_bar(frames: int) -> ProgressBar:
    return ProgressBar(frames, "frames", show=False, progress=ignore)
