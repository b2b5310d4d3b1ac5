"""What `video` and `morph` did: frames, time per stage, notes and failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from starcast.errors import printable


@dataclass
class FilmReport:
    """What `translate_video` or `morph` did.

    `notes`: what a user should know, such as sound that was encoded again. `failed`: a sentence for everything that was
    wrong with the source.
    """

    target: Path
    frames: int = 0
    wall_s: float = 0.0  # from the first frame to the last byte, without starting the engine
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, over all frames
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds per frame in each stage. Stages overlap: their sum is more than the time a frame takes."""
        return {stage: 1000 * total / max(1, self.frames) for stage, total in self.seconds.items()}

    def summary(self) -> str:
        """Two lines: what was written; milliseconds per stage and frames per second."""
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in self.stage_ms().items())
        rate = self.frames / self.wall_s if self.wall_s else 0.0
        return (
            f"{printable(self.target)}: {self.frames} frames in {self.wall_s:.1f} s.\n"
            f"Milliseconds per frame: {stages}. {rate:.1f} frames/s."
        )
