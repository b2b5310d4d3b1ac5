"""What `video` and `morph` did: frames, time per stage, notes and failures."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from starcast.errors import printable
from starcast.runtime.extra_inputs import ExtraCost

Item = TypeVar("Item")


@dataclass
class FilmReport:
    """What `translate_video` or `morph` did. Stages run side by side; each is timed from one thread only.

    `notes`: what a user should know, such as sound that was encoded again. `failed`: a sentence for each problem with
    the source.
    """

    target: Path
    seconds: dict[str, float]  # by stage, over all frames
    frames: int = 0
    faceless: int = 0  # frames in which no face was found
    wall_s: float = 0.0  # from the first frame to the last byte, without starting the engine
    is_there_already: bool = False  # the same video already existed, and was not made again
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    extra: ExtraCost = field(
        default_factory=ExtraCost
    )  # cost of the frame graph's extra inputs, part of the stage `run`

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's duration to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def timed_items(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, adding the time that each took to make to `stage`."""
        iterator = iter(items)
        while True:
            with self.timed(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds per frame in each stage. Stages overlap: their sum is more than the time a frame takes."""
        return {stage: 1000 * total / max(1, self.frames) for stage, total in self.seconds.items()}

    def summary(self) -> str:
        """Two lines: what was written; milliseconds per stage and frames per second. One, if the film was there."""
        if self.is_there_already:
            return f"{printable(self.target)} is there already, made in the same way."
        stages = ", ".join(
            f"{stage} {ms:.1f}{self.extra.within(stage, self.frames)}" for stage, ms in self.stage_ms().items()
        )
        rate = self.frames / self.wall_s if self.wall_s else 0.0
        return (
            f"{printable(self.target)}: {self.frames} frames in {self.wall_s:.1f} s.\n"
            f"Milliseconds per frame: {stages}. {rate:.1f} frames/s."
        )
