"""Does the memory of `starcast video` stay flat over a long video, and over many in one run?

    python -m starcast.benchmarks.studies.video_memory my-model -o benchmarks/results/video-memory.json
    python -m starcast.benchmarks.studies.video_memory my-model --videos 100 --frames 50 \\
      -o benchmarks/results/video-memory-100.json

In one video, the process's resident memory is read at every frame, and the record keeps the peak of every 500 frames.
The first of these is left out of the comparison: queues, encoder and engine fill up in it. In many, it is read after
each; the mean of the last ten is compared with that of the 10th to the 19th. Linux only.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.video_rate import draw_video
from starcast.click_options import options_from
from starcast.errors import OptionError
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.film_maker import FilmMaker, Look, look_of
from starcast.runtime.video.many.many_films import Outcome, State, Task, make_films
from starcast.runtime.video.options import VideoOptions

PROGRAM = "python -m starcast.benchmarks.studies.video_memory"
WINDOW = 500  # frames
GROUP = 10  # films


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(CheckedOptions):
    """How long a film, and where the results go."""

    frames: int = option(10_000, "Frames of the drawn video.", minimum=10)
    videos: int = option(1, "Translate it so many times in one run.", minimum=1)
    backend: str = flags.backend("openvino", "The engine that translates.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.videos == 1 and self.frames < 3 * WINDOW:
            raise OptionError(f"--frames is {self.frames}: give at least {3 * WINDOW}, or --videos 100")
        if 1 < self.videos < 3 * GROUP:
            raise OptionError(f"--videos is {self.videos}: give at least {3 * GROUP}")


class MemoryBar(ProgressBar):
    """Notes the peak of this process's memory in every WINDOW frames, in MiB."""

    def __init__(self) -> None:
        super().__init__(0, "frames", show=False, progress=lambda line: None)
        self.peaks: list[float] = []
        self._frames = 0

    def advance(self, count: int = 1) -> None:
        """Count a frame."""
        super().advance(count)
        if self._frames % WINDOW == 0:
            self.peaks.append(0.0)
        self._frames += count
        self.peaks[-1] = max(self.peaks[-1], resident_mib())


def resident_mib() -> float:
    """Memory of this process that is in RAM, in MiB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class FilmWatcher:
    """Notes this process's memory after each film, in MiB."""

    def __init__(self) -> None:
        self.after: list[float] = []

    def update(self, outcomes: Sequence[Outcome], *, is_last: bool = False) -> None:
        """A film has changed its state."""
        done = sum(outcome.state is State.DONE for outcome in outcomes)
        if done > len(self.after):
            self.after.append(resident_mib())


def growth_of(peaks: Sequence[float]) -> float:
    """How far the highest later peak lies above the second, as a share of it."""
    return max(peaks[2:]) / peaks[1] - 1


def growth_over_films(after: Sequence[float]) -> float:
    """How far the mean of the last GROUP films lies above that of the second GROUP, as a share of it."""
    return statistics.mean(after[-GROUP:]) / statistics.mean(after[GROUP : 2 * GROUP]) - 1


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(MemoryOptions)
def video_memory(bundle: Path, **values: Any) -> None:
    """Translate a long video, or many, and watch the memory of the process."""
    options = MemoryOptions(**values)
    opened = open_bundle(bundle)
    look = look_of(
        VideoOptions(domain=opened.manifest.domains[0], seed=0, backend=options.backend), opened.manifest, print
    )
    with tempfile.TemporaryDirectory() as folder:
        video = draw_video(Path(folder) / "walk.mp4", opened.manifest.trained_size, options.frames)
        if options.videos == 1:
            figures = _watch_one(opened, look, video)
        else:
            figures = _watch_many(opened, look, video, options.videos)
    click.echo(f"Memory in MiB: {' '.join(f'{value:.0f}' for value in figures['mib'])}")
    click.echo(f"{figures['videos']} x {figures['frames']} frames, growth {figures['growth']:.1%}.")
    if options.json is not None:
        record = {
            "question": "does the memory of `starcast video` stay flat over a long video, and over many?",
            "machine": provenance(threads=allowed_threads(), program=PROGRAM),
            "bundle": {"name": bundle.resolve().name, "sha256": opened.sha256},
            **figures,
        }
        write_result(options.json, record)


def _watch_one(bundle: Bundle, look: Look, video: Path) -> dict[str, Any]:
    bar = MemoryBar()
    with FilmMaker(bundle, [look], click.echo) as maker:
        report = maker.make(look, video, video.with_name("out.mp4"), lambda frames: bar)
    growth = growth_of(bar.peaks)
    return {
        "videos": 1,
        "frames": report.frames,
        "window": WINDOW,
        "mib": _rounded(bar.peaks),
        "growth": round(growth, 4),
    }


def _watch_many(bundle: Bundle, look: Look, video: Path, count: int) -> dict[str, Any]:
    watcher = FilmWatcher()
    tasks = [Task(bundle, look, video, video.with_name(f"out-{number}.mp4")) for number in range(count)]
    report = make_films(tasks, watcher, progress=click.echo)
    if report.failed:
        raise click.ClickException(report.failed[0])
    frames = sum(outcome.report.frames for outcome in report.outcomes if outcome.report) // count
    growth = growth_over_films(watcher.after)
    return {
        "videos": count,
        "frames": frames,
        "group": GROUP,
        "mib": _rounded(watcher.after),
        "growth": round(growth, 4),
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 1) for value in values]


if __name__ == "__main__":
    video_memory()
