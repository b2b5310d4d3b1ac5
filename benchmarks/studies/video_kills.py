"""Does `starcast video` come out the same, however often it is killed?

    python -m starcast.benchmarks.studies.video_kills my-model -o benchmarks/results/video-kills.json

Drawn films, each made another way, are killed at random moments and started again with the same command. In the end
the decoded frames, with their times, and every packet of the other streams are compared with those of a film that
nobody killed. Segments are shorter than usual (SEGMENT_FRAMES), so that a short film has many.

The film with the fewest kills comes next, and the record is written after each comparison: a run that is cut short has
killed all films alike, and the same command goes on from its record. Take a model of 128 pixels or more: below that,
x264 does not always encode in the same way.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.killed_films import FILMS, RATE, Film, content_of, draw_film, draw_image
from starcast.click_options import options_from
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.video.restart.parts import folder_of

PROGRAM = "python -m starcast.benchmarks.studies.video_kills"
SEGMENT_FRAMES = 16
KILLS = 3  # of one film, before it is left to end
_COMMAND = f"""
import sys
from starcast.runtime.video.restart import segments
segments.SEGMENT_FRAMES = {SEGMENT_FRAMES}
from starcast.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, kw_only=True)
class KillOptions(CheckedOptions):
    """How often, and where the results go."""

    kills: int = option(200, "Kills in all, spread over the videos.", minimum=len(FILMS))
    frames: int = option(400, "Frames of each video.", minimum=4 * SEGMENT_FRAMES)
    backend: str = flags.backend("onnxruntime", "The engine that translates.")
    seed: int = flags.seed(0)
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass
class Counts:
    """What became of one film. `varies`: two undisturbed runs differ; looked at only if a killed one is different."""

    kills: int = 0
    continued: int = 0
    finished: int = 0
    different: int = 0
    varies: int = 0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(KillOptions)
def video_kills(bundle: Path, **values: Any) -> None:
    """Kill translations of videos at random moments, and compare what comes out in the end."""
    options = KillOptions(**values)
    facts = {
        "bundle": {"name": bundle.resolve().name, "sha256": open_bundle(bundle).sha256},
        "frames": options.frames, "segment_frames": SEGMENT_FRAMES, "backend": options.backend, "seed": options.seed,
    }  # fmt: skip
    machine = provenance(threads=allowed_threads(), program=PROGRAM)
    counts = earlier_counts(options.json, facts, machine["sources"])
    moments = random.Random(f"{options.seed} {_kills(counts)}")
    killed: dict[str, KilledFilm] = {}
    with tempfile.TemporaryDirectory() as scratch:
        while (done := _kills(counts)) < options.kills:
            name = min(counts, key=lambda film: counts[film].kills)
            if name not in killed:
                folder = Path(scratch) / str(len(killed))
                killed[name] = KilledFilm(bundle.resolve(), folder, FILMS[name], options)
            killed[name].kill_and_compare(min(KILLS, options.kills - done), counts[name], moments)
            click.echo(f"{name}: {counts[name]}")
            if options.json is not None:
                films = [{"film": film, **asdict(count)} for film, count in counts.items()]
                write_result(options.json, {"machine": machine, **facts, "films": films})
    rows = [{"film": film, **asdict(count)} for film, count in counts.items()]
    click.echo(tabulate(rows, headers="keys"))
    different = sum(count.different for count in counts.values())
    click.echo(f"{_kills(counts)} kills, {different} videos came out different")
    sys.exit(bool(different))


def earlier_counts(record: Path | None, facts: dict[str, Any], sources: str) -> dict[str, Counts]:
    """The counts of the record, if it is of the same bundle, options and code; otherwise zeros."""
    counts = {name: Counts() for name in FILMS}
    if record is not None and record.exists():
        earlier = json.loads(record.read_text("utf-8"))
        if earlier["machine"]["sources"] == sources and all(earlier.get(name) == fact for name, fact in facts.items()):
            counts |= {row.pop("film"): Counts(**row) for row in earlier["films"]}
    return counts


def _kills(counts: dict[str, Counts]) -> int:
    return sum(count.kills for count in counts.values())


class KilledFilm:
    """A film, its translation that nobody killed, and the command that is killed."""

    def __init__(self, bundle: Path, folder: Path, film: Film, options: KillOptions) -> None:
        self._folder, self._film = folder, film
        folder.mkdir()
        source = draw_film(folder / film.source, film, options.frames)
        draw_image(folder / "style.png")
        has_styles = {"--seeds", "--style-keys"} & set(film.flags)
        self._command = [
            sys.executable, "-c", _COMMAND, film.verb, str(bundle), str(source), "--domain", "0", "--backend",
            options.backend, *(() if has_styles else ("--seed", "3")), *film.flags,
            *(("--fps", str(RATE), "--duration", f"{float(options.frames / RATE)}s") if film.verb == "morph" else ()),
        ]  # fmt: skip
        start = time.monotonic()
        self._wanted = self._make("whole")
        self._lasts = time.monotonic() - start
        self._target = self._output("killed")

    def kill_and_compare(self, kills: int, counts: Counts, moments: random.Random) -> None:
        """Kill the translation `kills` times, or until it is whole before; let it end; compare and count."""
        count = 0
        while not _is_there(self._target):
            running = self._start(self._target)
            try:
                running.wait(moments.uniform(0, self._lasts) if count < kills else None)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
                running.wait()
                count += 1
                counts.continued += folder_of(self._target).exists()
            else:
                self._check(running)
        counts.kills += count
        counts.finished += 1
        if content_of(self._target) != self._wanted:
            counts.different += 1
            counts.varies = counts.varies or int(self._make("again") != self._wanted)
        _remove(self._target)

    def _make(self, folder: str) -> str:
        """The content of a translation that nobody kills."""
        target = self._output(folder)
        running = self._start(target)
        running.wait()
        self._check(running)
        return content_of(target)

    def _output(self, folder: str) -> Path:
        target = self._folder / folder / self._film.output
        target.parent.mkdir(parents=True)
        return target

    def _start(self, target: Path) -> subprocess.Popen[bytes]:
        command = [*self._command, "-o", str(target)]
        return subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)

    def _check(self, ended: subprocess.Popen[bytes]) -> None:
        if ended.returncode:
            raise RuntimeError(f"{self._command} ended with {ended.returncode}")


def _first(target: Path) -> Path:
    """The output, or the image of a sequence that is written last."""
    return target.parent / (target.name % 1) if "%" in target.name else target


def _is_there(target: Path) -> bool:
    return _first(target).exists()


def _remove(target: Path) -> None:
    for path in target.parent.glob("*"):
        if path.is_file():
            path.unlink()


if __name__ == "__main__":
    video_kills(prog_name=PROGRAM)
