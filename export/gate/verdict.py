"""What the gate measured of a graph that passed."""

from __future__ import annotations

from dataclasses import dataclass

from starcast.export.gate.quality import summary
from starcast.runtime.manifest import Parity, Quality


@dataclass(frozen=True)
class Verdict:
    """Parity with PyTorch, or below float32 the quality beside float32's translations."""

    parity: Parity | None = None
    quality: Quality | None = None

    def __str__(self) -> str:
        """A line for people."""
        if self.quality is not None:
            return summary(self.quality)
        assert self.parity is not None
        return (
            f"generator against PyTorch: {self.parity.worst:.1e}, bytes within {self.parity.levels} (on images of one "
            f"colour {self.parity.flat_levels}), batches of {', '.join(map(str, self.parity.batches))}"
        )
