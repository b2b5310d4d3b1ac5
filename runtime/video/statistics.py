"""Where the time of a film went: rates, times of a frame by stage, how full the queues were, and which stage limits.

A stage works on one frame while the stage before it already makes the next, and frames wait in a queue between the two.
The stage that limits has frames waiting before it and none after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from starcast.runtime.cores import allowed_threads
from starcast.runtime.video.report import FilmReport

PERCENTILES = (50, 95, 99)
_LEAST_FRAMES = 32  # a shorter film ends before its queues have settled
_CLEAR = 0.5  # the least difference between how full a stage's input and output are
_BUSY = 0.9  # share of the cores from which on they limit


def statistics_of(report: FilmReport, cores: int | None = None) -> dict[str, Any]:
    """The statistics of a film as JSON: rates in frames per second, times in milliseconds, shares from 0 to 1."""
    wall_s, cores = max(report.wall_s, 1e-9), cores or allowed_threads()
    decoded = report.frame_s.get("decode")
    rates = {"in": round(decoded.count / wall_s, 2)} if decoded is not None else {}
    used = report.cpu_s / wall_s / cores
    return {
        "frames": report.frames,
        "seconds": round(report.wall_s, 3),
        "frames_per_second": {**rates, "out": round(report.frames / wall_s, 2)},
        "cpu": {
            "cores": cores, "used": round(used, 3),
            "ms_per_frame": round(1000 * report.cpu_s / max(1, report.frames), 3),
        },
        "stages": {
            stage: {
                "seconds": round(report.seconds[stage], 3),
                **{f"p{percent}_ms": round(1000 * times.percentile(percent), 3) for percent in PERCENTILES},
            }
            for stage in report.seconds if (times := report.frame_s.get(stage)) is not None
        },
        "queues": {
            f"after {stage}": {
                "places": watch.places, "mean": round(watch.mean, 2), "full": round(watch.full, 3),
                "empty": round(watch.empty, 3),
            }
            for stage, watch in report.queues.items()
        },
        "limit": limit_of(report, used),
        **report.figures,
    }  # fmt: skip


def limit_of(report: FilmReport, used: float) -> dict[str, str | None]:
    """Which stage limits the speed, None if no single one does, and why. `used`: the share of the cores that worked."""
    busy = f"{used:.0%} of the CPU is used"
    if report.frames < _LEAST_FRAMES:
        return {"stage": None, "why": f"{report.frames} frames are too few to tell"}
    watches = list(report.queues.values())
    drops = falls([watch.mean / watch.places for watch in watches])
    threads = _threads(list(report.seconds), list(report.queues))
    drop, stages, before, after = max(
        zip(drops, threads, [None, *watches], [*watches, None], strict=True), key=lambda thread: thread[0]
    )
    if drop < _CLEAR:
        limit = "all cores are busy" if used >= _BUSY else "the stages keep pace with each other"
        return {"stage": None, "why": f"{limit}; {busy}"}
    reasons = []
    if before is not None:
        reasons.append(f"frames wait for it (the queue before it is full {before.full:.0%} of the time)")
    if after is not None:
        reasons.append(f"the next stage waits for it (the queue between them is empty {after.empty:.0%} of the time)")
    slowest = max(stages, key=lambda stage: report.seconds.get(stage, 0.0))
    return {"stage": slowest, "why": f"{' and '.join([*reasons, busy])}"}


def falls(filled: Sequence[float]) -> list[float]:
    """For each thread, how much fuller its input is than its output. `filled` has the shares of the queues between
    them, 0 to 1; the source never runs dry, and the file is never full."""
    return [before - after for before, after in pairwise([1.0, *filled, 0.0])]


def _threads(stages: Sequence[str], filling: Sequence[str]) -> list[list[str]]:
    """The stages of each thread, in order. One that fills a queue is the last of its thread."""
    threads, rest = [], list(stages)
    for stage in filling:
        cut = rest.index(stage) + 1 if stage in rest else 0
        threads.append(rest[:cut] or [stage])
        rest = rest[cut:]
    return [*threads, rest or ["the last stage"]]


def render(statistics: Mapping[str, Any]) -> list[str]:
    """The statistics as lines for a terminal."""
    rates, cpu, limit = statistics["frames_per_second"], statistics["cpu"], statistics["limit"]
    frames = ", ".join(f"{rate:.1f} {way}" for way, rate in rates.items())
    names = [f"p{percent}" for percent in PERCENTILES]
    stages = ", ".join(
        f"{stage} {'/'.join(format(times[name + '_ms'], '.1f') for name in names)}"
        for stage, times in statistics["stages"].items()
    )
    queues = ", ".join(
        f"{queue['mean']:.1f} of {queue['places']} {name} (full {queue['full']:.0%}, empty {queue['empty']:.0%})"
        for name, queue in statistics["queues"].items()
    )
    return [
        f"Frames per second: {frames}. CPU: {cpu['used'] * cpu['cores']:.1f} of {cpu['cores']} cores, "
        f"{cpu['ms_per_frame']:.1f} ms per frame.",
        f"Milliseconds per frame ({'/'.join(names)}): {stages}.",
        f"Frames waiting on average: {queues}.",
        f"What limits the speed: {limit['stage'] or 'no single stage'}: {limit['why']}.",
    ]
