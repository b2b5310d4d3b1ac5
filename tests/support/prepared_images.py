"""How many of the images that `translate` has prepared are in memory at once."""

from __future__ import annotations

import pytest

from starcast.runtime.folder import pipeline


class PreparedImages:
    """Counts every prepared image from now on; `most` is the largest number that was alive at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive = self.most = 0
        counts, original = self, pipeline.Prepared

        class Counted(original):
            def __post_init__(self) -> None:
                counts.alive += 1
                counts.most = max(counts.most, counts.alive)

            def __del__(self) -> None:
                counts.alive -= 1

        monkeypatch.setattr(pipeline, "Prepared", Counted)
