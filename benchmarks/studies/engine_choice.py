"""Does `--backend auto` choose what is fastest in `starcast video`?

    python -m starcast.benchmarks.studies.engine_choice my-model -o benchmarks/results/engine-choice.json

In every round each engine translates the same video in a fresh process: on all threads, on half of them, and on as many
as it measures to be best. Then `auto` does. What is measured first begins with an empty cache. Frames per second are
counted from the first frame to the last byte. Opening and measuring engines does not count; what an engine compiles at
the first frame does. `auto` is compared with the others within a round.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.click_options import options_from
from starcast.errors import OptionError, StarcastError
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import Bundle, open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.engines.base import EngineOptions
from starcast.runtime.engines.candidates import list_candidates
from starcast.runtime.engines.choose import recall_choice
from starcast.runtime.engines.registry import AUTO
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.translate import translate_video
from starcast.train.creatures.coats import random_coat
from starcast.train.creatures.poses import random_pose
from starcast.train.creatures.video import write_walk

PROGRAM = "python -m starcast.benchmarks.studies.engine_choice"


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions(CheckedOptions):
    """How to compare the engines."""

    rounds: int = flags.rounds(5)
    video: Path | None = option(None, "Video to translate. Default: a drawn one of 256 px.", metavar="VIDEO")
    seconds: int = option(8, "Length of the drawn video, in seconds.", minimum=1)
    domain: str | None = flags.domain("Default: the bundle's first.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """An engine on a number of threads; None: on as many as it chooses."""

    engine: str
    threads: int | None

    @property
    def name(self) -> str:
        return self.engine if self.threads is None else f"{self.engine} on {self.threads}"


@dataclass(frozen=True, kw_only=True)
class VideoPace:
    """One translation of the video: frames per second, milliseconds a frame in the engine, and what `auto` chose."""

    frames_per_second: float
    engine_ms: float
    chose: str | None = None


def list_setups(bundle: Bundle, threads: int) -> list[Setup]:
    """Every CPU engine on all threads, on half of them, and on as many as it chooses; `auto` last."""
    engines = dict.fromkeys(one.engine.name for one in list_candidates(bundle) if not one.engine.on_gpu)
    counts = dict.fromkeys((threads, max(1, threads // 2), None))
    return [
        *(Setup(engine=name, threads=count) for name in engines for count in counts),
        Setup(engine=AUTO, threads=None),
    ]


def translate_once(bundle_path: Path, video: Path, domain: str | None, setup: Setup) -> VideoPace:
    """Translate the video in this process. What it writes is deleted."""
    options = VideoOptions(backend=setup.engine, threads=setup.threads, domain=domain)
    with tempfile.TemporaryDirectory() as folder:
        report = translate_video(bundle_path, video, Path(folder) / "out.mp4", options, progress=lambda line: None)
    chose = None
    if setup.engine == AUTO:
        verdict = recall_choice(
            open_bundle(bundle_path), options=EngineOptions(threads=setup.threads), kinds=("video",)
        )
        chose = None if verdict is None else verdict.winner.name
    return VideoPace(
        frames_per_second=round(report.frames / report.wall_s, 2),
        engine_ms=round(report.stage_ms()["run"], 3),
        chose=chose,
    )


def translate_apart(bundle_path: Path, video: Path, domain: str | None, setup: Setup) -> VideoPace:
    """`translate_once` in a fresh process, with an empty cache. Raises StarcastError with the process's last line."""
    arguments = [str(bundle_path), str(video), domain or "", setup.engine, str(setup.threads or "")]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--once", *arguments], capture_output=True, text=True,
            env={**os.environ, "XDG_CACHE_HOME": cache, "LOCALAPPDATA": cache},
        )  # fmt: skip
    if done.returncode:
        raise StarcastError(f"{setup.name} failed: {done.stderr.strip().splitlines()[-1]}")
    return VideoPace(**json.loads(done.stdout.splitlines()[-1]))


def figures(paces: Mapping[str, Sequence[VideoPace]]) -> list[dict[str, Any]]:
    """Each setup's frames per second, and how many times as fast as `auto` it was, paired round by round."""
    rows = []
    for name, taken in paces.items():
        ratios = [
            ours.frames_per_second / auto.frames_per_second for ours, auto in zip(taken, paces[AUTO], strict=True)
        ]
        rows.append(
            {
                "setup": name,
                "frames_per_second": [pace.frames_per_second for pace in taken],
                "engine_ms": [pace.engine_ms for pace in taken],
                "median_frames_per_second": round(statistics.median(pace.frames_per_second for pace in taken), 2),
                "times_as_fast_as_auto": {
                    "median": round(statistics.median(ratios), 3),
                    "least": round(min(ratios), 3),
                    "greatest": round(max(ratios), 3),
                },
                **({"chose": [pace.chose for pace in taken]} if name == AUTO else {}),
            }
        )
    return rows


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(ChoiceOptions)
def study(bundle: Path, **values: Any) -> None:
    """Translate a video with each engine and with auto, round by round."""
    options = ChoiceOptions(**values)
    opened, threads = open_bundle(bundle), allowed_threads()
    domain = options.domain or next(iter(opened.manifest.domains), None)
    setups = list_setups(opened, threads)
    if len(setups) < 2:
        raise OptionError(f"{bundle} has no engine on the CPU here: install one, such as starcast[openvino]")
    paces: dict[str, list[VideoPace]] = {setup.name: [] for setup in setups}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=options.rounds * len(setups)) as bar:
        video = options.video or draw_video(Path(folder) / "walk.mp4", options.seconds)
        for _ in range(options.rounds):
            for setup in setups:
                bar.set_description(setup.name)
                paces[setup.name].append(translate_apart(bundle, video, domain, setup))
                bar.update()
    rows = figures(paces)
    if options.json is not None:
        record = {
            "question": "does auto choose what is fastest in `starcast video`?",
            "machine": provenance(threads=threads, program=PROGRAM),
            "bundle": {"size": [opened.source.width, opened.source.height], "sha256": opened.sha256},
            "options": {
                name: str(value) if isinstance(value, Path) else value
                for name, value in dataclasses.asdict(options).items()
                if name != "json"
            },
            "rows": rows,
        }
        write_result(options.json, record)
    table = [
        [row["setup"], row["median_frames_per_second"], statistics.median(row["engine_ms"])]
        + [row["times_as_fast_as_auto"][name] for name in ("median", "least", "greatest")]
        for row in rows
    ]
    headers = ["", "frames/s", "ms in the engine", "times auto", "least", "greatest"]
    click.echo(tabulate(table, headers=headers, disable_numparse=True))
    click.echo(f"auto chose {', '.join(str(pace.chose) for pace in paces[AUTO])}")


def draw_video(target: Path, seconds: int) -> Path:
    random = np.random.default_rng(0)
    write_walk(target, random_pose(random), random_coat(random, "spotted"), seconds)
    return target


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        once_bundle, once_video, once_domain, once_engine, once_threads = sys.argv[2:]
        pace = translate_once(
            Path(once_bundle),
            Path(once_video),
            once_domain or None,
            Setup(engine=once_engine, threads=int(once_threads) if once_threads else None),
        )
        sys.stdout.write(json.dumps(dataclasses.asdict(pace)) + "\n")
    else:
        study()
