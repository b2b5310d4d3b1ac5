"""One progress bar over stages of known relative length, which shows the time left throughout."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

from tqdm import tqdm


class Stages(AbstractContextManager["Stages"]):
    """`expected` names the stages in order, with their usual seconds; only their proportions count.

    The time left is the rest of `expected`, scaled by how fast this machine has been so far.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self.expected = dict(expected)
        self.seconds: dict[str, float] = {}
        self._current = ""
        self._done_before = 0.0
        self._bar = tqdm(total=sum(expected.values()), bar_format="{l_bar}{bar}| {elapsed}<{remaining}", mininterval=1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show the stage's name while it lasts, record its seconds, and move the bar to its end."""
        self._done_before = sum(self.expected[before] for before in self.seconds)
        self._current = name
        self._bar.set_description_str(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.advance(1.0)

    def advance(self, share: float, note: str = "") -> None:
        """Show that this share of the current stage, 0..1, is done."""
        if note:
            self._bar.set_description_str(f"{self._current}: {note}", refresh=False)
        self._bar.update(self._done_before + self.expected[self._current] * min(share, 1.0) - self._bar.n)

    def note(self, sentence: str) -> None:
        """Write a line above the bar."""
        self._bar.write(sentence)
