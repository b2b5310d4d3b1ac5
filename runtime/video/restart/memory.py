"""What a stage remembers from frame to frame, so that an interrupted film goes on as if it had never stopped.

A film is encoded in segments (segments.py), and goes on behind the last whole one. Stages run ahead of each other, so
each puts its state on the last frame of a segment (`RgbFrame.ends_segment`) as that frame leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from numpy.typing import NDArray

from starcast.runtime.video.frames import RgbFrame

State = Mapping[str, NDArray[Any]]


class Memory(Protocol):
    """What the next frame depends on, besides itself."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it, exact, in arrays of their own that later frames do not change. Empty if nothing is known yet."""

    def restore(self, state: State) -> None:
        """Go on from what `state` returned. Called before the first frame, and not if the film begins there."""


def remember(frame: RgbFrame, name: str, memory: Memory) -> RgbFrame:
    """The frame as it leaves a stage: the last of a segment takes along what the stage remembers, under its `name`."""
    if not frame.ends_segment:
        return frame
    own = {f"{name}/{key}": values for key, values in memory.state().items()}
    return replace(frame, state={**(frame.state or {}), **own})


def restore(memories: Mapping[str, Memory], state: State) -> None:
    """Give each stage back, by its name, what `remember` took along."""
    for name, memory in memories.items():
        prefix = f"{name}/"
        own = {key.removeprefix(prefix): values for key, values in state.items() if key.startswith(prefix)}
        memory.restore(own)
