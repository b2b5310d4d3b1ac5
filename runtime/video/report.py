"""What `video` and `morph` did: frames, time per stage, notes and failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from starcast.errors import printable
from starcast.runtime.extra_inputs import ExtraCost
from starcast.runtime.histogram import Histogram
from starcast.runtime.queue_watch import QueueWatch
from starcast.runtime.stages import DEPTH, run_ahead

Item = TypeVar("Item")


@dataclass
class FilmReport:
    """What `translate_video` or `morph` did. Stages run side by side; each is timed from one thread only, without the
    time that it waits for other stages.

    `notes`: what a user should know, such as sound that was encoded again. `failed`: a sentence for each problem with
    the source. `figures`: further statistics by name, of stages that measure what they do.
    """

    target: Path
    seconds: dict[str, float]  # by stage, over all frames
    frames: int = 0
    stored: int = 0  # frames that an earlier, interrupted run has made
    faceless: int = 0  # frames in which no face was found
    wall_s: float = 0.0  # from the first frame to the last byte, without starting the engine
    cpu_s: float = 0.0  # of all threads of this process, in that time
    is_there_already: bool = False  # the same video already existed, and was not made again
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    extra: ExtraCost = field(
        default_factory=ExtraCost
    )  # cost of the frame graph's extra inputs, part of the stage `run`
    frame_s: dict[str, Histogram] = field(default_factory=dict)  # seconds of a frame, by stage
    queues: dict[str, QueueWatch] = field(default_factory=dict)  # by the stage that fills it, in the order of the work
    _uncounted: dict[str, float] = field(default_factory=dict)  # seconds since the last frame, by stage

    @contextmanager
    def timed(self, stage: str, frames: int = 1) -> Iterator[None]:
        """Add the block's duration to `stage`. It is the time of `frames` frames in equal parts; that of a block
        without a frame counts for the next one."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._add(stage, time.perf_counter() - start, frames)

    def timed_items(
        self, stage: str, items: Iterable[Item], is_frame: Callable[[Item], bool] = lambda item: True
    ) -> Iterator[Item]:
        """The same items, adding the time that each took to make to `stage`."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except BaseException as error:
                self._add(stage, time.perf_counter() - start, 0)
                if isinstance(error, StopIteration):
                    return
                raise
            self._add(stage, time.perf_counter() - start, int(is_frame(item)))
            yield item

    def ahead(
        self, items: Iterable[Item], stage: str, depth: int = DEPTH, *, yields: bool = False
    ) -> AbstractContextManager[Iterator[Item]]:
        """`run_ahead` for a stage, whose queue is watched."""
        watch = self.queues[stage] = QueueWatch(depth)
        return run_ahead(items, stage, depth, watch, yields=yields)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """The block is the work: its duration and CPU time."""
        start, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall_s, self.cpu_s = time.perf_counter() - start, time.process_time() - cpu

    def _add(self, stage: str, seconds: float, frames: int) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        uncounted = self._uncounted.pop(stage, 0.0) + seconds
        if frames:
            self.frame_s.setdefault(stage, Histogram()).add(uncounted / frames, frames)
        else:
            self._uncounted[stage] = uncounted

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds per frame in each stage. Stages overlap: their sum is more than the time a frame takes."""
        return {stage: 1000 * total / max(1, self.frames - self.stored) for stage, total in self.seconds.items()}

    def summary(self) -> str:
        """Two lines: what was written; milliseconds per stage and frames per second. One, if the film was there."""
        if self.is_there_already:
            return f"{printable(self.target)} is there already, made in the same way."
        stages = ", ".join(
            f"{stage} {ms:.1f}{self.extra.within(stage, self.frames)}" for stage, ms in self.stage_ms().items()
        )
        rate = (self.frames - self.stored) / self.wall_s if self.wall_s else 0.0
        return (
            f"{printable(self.target)}: {self.frames} frames in {self.wall_s:.1f} s.\n"
            f"Milliseconds per frame: {stages}. {rate:.1f} frames/s."
        )
