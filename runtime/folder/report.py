"""What a run of `translate` did: counts, failures, and how long each stage took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Report:
    """What `translate_all` did. `done` and `skipped` count translations; `failed` has a sentence each.

    `seconds` sums each stage over all images: read and fit a source, run and write a translation. `wall_s` is the time
    from the first source to the last file, without starting the engine.
    """

    done: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    sources: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "fit", "run", "write"), 0.0))
    wall_s: float = 0.0

    def fail(self, sentence: str, progress: Callable[[str], None]) -> None:
        """Count a failure, and print it."""
        self.failed.append(sentence)
        progress(sentence)

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds per image in each stage. Stages overlap: their sum is more than the time an image takes."""
        counts = {"read": self.sources, "fit": self.sources, "run": self.done, "write": self.done}
        return {stage: 1000 * total / max(1, counts[stage]) for stage, total in self.seconds.items()}

    def summary(self) -> str:
        """Two lines: the counts; milliseconds per stage and images per second."""
        lines = [f"{self.done} translated, {self.skipped} there already, {len(self.failed)} failed."]
        if self.done and self.wall_s:
            stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in self.stage_ms().items())
            lines.append(f"Milliseconds per image: {stages}. {self.done / self.wall_s:.1f} images/s.")
        return "\n".join(lines)
