"""What the stages of a video take alone, and the rate that no pipeline of them can exceed.

Each stage works on all frames before the next begins. No pipeline can be faster than its slowest stage alone, nor than
the CPU time of all stages over the cores: the larger of the two is the limit. The encoder takes two whole segments.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from starcast.runtime.translator import Translator
from starcast.runtime.video.compose import compose_frames, composer_for
from starcast.runtime.video.fitting import fit_frames
from starcast.runtime.video.frames import RgbFrame
from starcast.runtime.video.geometry import geometry_of
from starcast.runtime.video.input.view import open_view
from starcast.runtime.video.model_stages import translate_frames
from starcast.runtime.video.options import VideoOptions
from starcast.runtime.video.output.sink import Sink
from starcast.runtime.video.pipeline import is_frame
from starcast.runtime.video.report import FilmReport
from starcast.runtime.video.restart.segments import SEGMENT_FRAMES

Item = TypeVar("Item")


@dataclass(frozen=True)
class Cost:
    """What a stage takes alone, in milliseconds a frame."""

    ms: float
    cpu_ms: float


def stages_alone(video: Path, options: VideoOptions, translator: Translator, folder: Path) -> dict[str, Cost]:
    """What each stage takes if nothing else runs."""
    costs: dict[str, Cost] = {}
    target = folder / "alone.mp4"
    report = FilmReport(target, {})

    def measure(stage: str, items: Iterable[Item]) -> list[Item]:
        start, cpu = time.perf_counter(), time.process_time()
        done = list(items)
        spent = time.perf_counter() - start, time.process_time() - cpu
        costs[stage] = Cost(*(round(1000 * seconds / len(done), 4) for seconds in spent))
        return done

    with open_view(video, options) as source:
        geometry = geometry_of(options, source, translator.size)
        style = translator.style(translator.domains[0], seed=0)
        decoded = measure("decode", filter(is_frame, source.read(set())))
        fitted = measure("fit", fit_frames(decoded, source, geometry, report))
        decoded.clear()
        run = measure(
            "run",
            translate_frames(
                fitted, lambda images, times: translator(images, style), options.batch or translator.batch, report
            ),
        )
        fitted.clear()
        if options.composes:
            run = measure("compose", compose_frames(run, composer_for(options), report))
        frames = [frame for frame in run if isinstance(frame, RgbFrame)]
        step = frames[1].pts - frames[0].pts

        def encoded() -> Iterator[None]:
            count = 2 * SEGMENT_FRAMES
            with Sink(target, target.name, geometry.output, source.rate, source.time_base, options) as sink:
                for number in range(count):
                    sink.write(replace(frames[number % len(frames)], pts=number * step))
                    if number < count - 1:
                        yield
            yield  # only now it has written everything

        measure("encode", encoded())
    target.unlink()
    return costs


def limit_of(costs: dict[str, Cost], cores: int) -> tuple[str, float]:
    """What limits the rate, and the least milliseconds a frame."""
    slowest = max(costs, key=lambda stage: costs[stage].ms)
    by_cores = sum(cost.cpu_ms for cost in costs.values()) / cores
    return (slowest, costs[slowest].ms) if costs[slowest].ms >= by_cores else ("CPU", by_cores)
