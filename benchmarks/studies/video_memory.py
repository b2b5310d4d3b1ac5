"""Does the memory of `starcast video` stay flat over a long video?

    python -m starcast.benchmarks.studies.video_memory my-model -o benchmarks/results/video-memory.json

The process's resident memory is read at every frame, and the record keeps the peak of every 500 frames. The first of
these is left out of the comparison: queues, encoder and engine fill up in it. Linux only.
"""

from __future__ import annotations

import os
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
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.progress import ProgressBar
from starcast.runtime.video.film_maker import FilmMaker, look_of
from starcast.runtime.video.options import VideoOptions

PROGRAM = "python -m starcast.benchmarks.studies.video_memory"
WINDOW = 500  # frames


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(CheckedOptions):
    """How long a film, and where the results go."""

    frames: int = option(10_000, "Frames of the drawn video.", minimum=3 * WINDOW)
    backend: str = flags.backend("openvino", "The engine that translates.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


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


def growth_of(peaks: Sequence[float]) -> float:
    """How far the highest later peak lies above the second, as a share of it."""
    return max(peaks[2:]) / peaks[1] - 1


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(MemoryOptions)
def video_memory(bundle: Path, **values: Any) -> None:
    """Translate a long video, and watch the memory of the process."""
    options = MemoryOptions(**values)
    opened, bar = open_bundle(bundle), MemoryBar()
    with tempfile.TemporaryDirectory() as folder:
        video = draw_video(Path(folder) / "walk.mp4", opened.manifest.trained_size, options.frames)
        look = look_of(
            VideoOptions(domain=opened.manifest.domains[0], seed=0, backend=options.backend), opened.manifest, print
        )
        with FilmMaker(opened, [look], click.echo) as maker:
            report = maker.make(look, video, Path(folder) / "out.mp4", lambda frames: bar)
    growth = growth_of(bar.peaks)
    click.echo(f"Peaks in MiB of every {WINDOW} frames: {' '.join(f'{peak:.0f}' for peak in bar.peaks)}")
    click.echo(f"{report.frames} frames, growth {growth:.1%}.")
    if options.json is not None:
        record = {
            "question": "does the memory of `starcast video` stay flat over a long video?",
            "machine": provenance(threads=allowed_threads(), program=PROGRAM),
            "bundle": {"name": bundle.resolve().name, "sha256": opened.sha256},
            "frames": report.frames,
            "window": WINDOW,
            "peaks_mib": [round(peak, 1) for peak in bar.peaks],
            "growth": round(growth, 4),
        }
        write_result(options.json, record)


if __name__ == "__main__":
    video_memory()
